// Find products by text: the vector from `ingest serve`, the search in Milvus.
//
//   npm ci && npm run search -- "red striped mug" 'category == "mugs" and price < 20'
import { MilvusClient } from "@zilliz/milvus2-sdk-node";

const { SERVE = "http://127.0.0.1:8900", MILVUS = "http://127.0.0.1:19530", ALIAS = "products" } = process.env;
const [words = "red striped mug", expression = "price < 20"] = process.argv.slice(2);

interface Embedded {
  vector: number[];
  fingerprint: string;
}

interface Contract {
  fingerprint: string;
  vector_field: string;
  metric: string;
  ef: number;
}

async function embed(text: string): Promise<Embedded> {
  const answer = await fetch(`${SERVE}/v1/embed`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${process.env.INGEST_SERVE_TOKEN ?? ""}` },
    body: JSON.stringify({ text }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as Embedded;
}

const client = new MilvusClient({ address: MILVUS, token: process.env.MILVUS_TOKEN });
try {
  const { properties } = await client.describeCollection({ collection_name: ALIAS });
  const said = properties.find(({ key }) => key === "ingest.contract");
  if (!said) throw new Error(`${ALIAS} was not built by ingest`);
  const contract = JSON.parse(String(said.value)) as Contract;
  const embedded = await embed(words);
  if (embedded.fingerprint !== contract.fingerprint)
    throw new Error("the service's model is not the collection's: their fingerprints differ");

  const { results } = await client.search({
    collection_name: ALIAS,
    anns_field: contract.vector_field,
    data: embedded.vector,
    filter: expression,
    limit: 5,
    output_fields: ["product_id", "title", "price"],
    metric_type: contract.metric,
    params: { ef: contract.ef },
  });
  for (const hit of results) console.log(hit.score.toFixed(3), hit.product_id, hit.title, hit.price);
} finally {
  await client.closeConnection();
}
