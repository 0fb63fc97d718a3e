#!/usr/bin/env bash
# Find products by text: the vector from `ingest serve`, the search by Milvus' REST API. Needs curl and jq.
#
#   bash search.sh "red striped mug" 'category == "mugs" and price < 20'
#
# RESTful API v2 came with Milvus 2.4. REST=v1 uses the older API, which Milvus 2.3 has on the same port.
set -euo pipefail

: "${SERVE:=http://127.0.0.1:8900}" "${MILVUS:=http://127.0.0.1:19530}" "${ALIAS:=products}" "${REST:=v2}"
words=${1:-red striped mug}
expression=${2:-price < 20}

# post URL TOKEN  sends stdin and prints the answer; if the request fails, prints the error and ends the script
post() {
    curl -sS --fail-with-body "$1" -H 'Content-Type: application/json' -H "Authorization: Bearer $2" -d @-
}

embedded=$(jq -n --arg text "$words" '{$text}' | post "$SERVE/v1/embed" "${INGEST_SERVE_TOKEN:-}")

if [ "$REST" = v1 ]; then
    path=/v1/vector/search
    query='{$collectionName, vector: .vector, $filter, limit: 5, $outputFields}'
else
    path=/v2/vectordb/entities/search
    query='{$collectionName, data: [.vector], annsField: "embedding", $filter, limit: 5, $outputFields,
            searchParams: {metricType: "IP", params: {ef: .ef}}}'
fi
answer=$(jq --arg collectionName "$ALIAS" --arg filter "$expression" \
    --argjson outputFields '["product_id", "title", "price"]' "$query" <<<"$embedded" |
    post "$MILVUS$path" "${MILVUS_TOKEN:-}")

jq -r 'if .data then .data[] | "\(.distance) \(.product_id) \(.title) \(.price)" else error(.message) end' <<<"$answer"
