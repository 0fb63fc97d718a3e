"""A stand-in for a Milvus server: answers as one version does, for versions without an image here.

    with serve("2.6.16") as server:
        MilvusClient(uri=server.uri)...
        server.requests()            the requests so far, oldest first
        server.fail("Upsert", 8, "rate limit exceeded")

`dialect` says what differs between versions, each rule with the source of its fact. `service` decides which request
goes where, `validation` refuses what the server's proxy refuses, `catalog` holds databases and collections, `columns`
and `filters` read and write Milvus' messages. Filters are evaluated by Milvus Lite's code.

A rule that is stricter than the real server is a bug: if the source leaves a doubt, the stand-in accepts.
"""
