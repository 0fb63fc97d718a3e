"""A Milvus that answers as one version does, for the versions that no image can be had of here.

    with serve("2.6.16") as server:
        MilvusClient(uri=server.uri)...
        server.requests()            what it was asked, oldest first
        server.fail("Upsert", 8, "rate limit exceeded")

`dialect` says what differs between versions, each rule with the source of its fact. `service` decides which request
goes where, `validation` refuses what the server's proxy refuses, `catalog` holds databases and collections, `columns`
and `filters` read and write Milvus' messages. The filter language is Milvus Lite's evaluator, not one more of our own.

A rule that is stricter than the server it stands for is a bug: where the source leaves a doubt, the stand-in accepts.
"""
