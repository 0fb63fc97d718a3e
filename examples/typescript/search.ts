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
  group?: string; // a field that products of one item share, if the schema names one
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

  const { group } = contract;
  // The nearest products that are of none of the items in `without`, best first.
  async function nearest(limit: number, without: string[]) {
    const { results } = await client.search({
      collection_name: ALIAS,
      anns_field: contract.vector_field,
      data: embedded.vector,
      filter: `(${expression})` + (without.length ? ` and ${group} not in ${JSON.stringify(without)}` : ""),
      limit,
      output_fields: ["product_id", "title", "price", ...(group ? [group] : [])],
      metric_type: contract.metric,
      params: { ef: Math.max(contract.ef, limit) },
    });
    return results;
  }

  const limit = 5;
  const items = new Map<string, Awaited<ReturnType<typeof nearest>>[number]>();
  const others: typeof items = new Map();
  let found: Awaited<ReturnType<typeof nearest>> = [];
  // More than are shown, because some are of one item.
  for (let asked = group ? 2 * limit + 8 : limit; ; asked = Math.min(4 * asked, 16_384)) {
    const hits = await nearest(asked, [...items.keys()]);
    for (const hit of hits) {
      const item = group ? String(hit[group] ?? "") : "";
      const [best, key] = item ? [items, item] : [others, String(hit.product_id)];
      if (!best.has(key)) best.set(key, hit);
    }
    found = [...items.values(), ...others.values()].sort((a, b) => b.score - a.score).slice(0, limit);
    if (!group || found.length === limit || hits.length < asked) break;
  }
  for (const hit of found) console.log(hit.score.toFixed(3), hit.product_id, hit.title, hit.price);
} finally {
  await client.closeConnection();
}
