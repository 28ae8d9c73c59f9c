/** What a customer does, through the client that @hey-api/openapi-ts has made; BASE PASSWORD. */
import { client } from "./hey/client.gen";
import { createOrder, getOrder, issueToken, listItems } from "./hey/sdk.gen";
import type { components, paths } from "./types";

type Price = paths["/api/v1/items"]["get"]["responses"]["200"]["content"]["application/json"][0]["price"];

function expect(condition: unknown, what: unknown): asserts condition {
  if (!condition) throw new Error(JSON.stringify(what));
}

async function main(baseUrl: string, password: string): Promise<void> {
  client.setConfig({ baseUrl });
  const signedIn = await issueToken({
    body: { grant_type: "password", username: "alfki@northwind.example", password },
  });
  expect(signedIn.data, signedIn.error);
  const auth = signedIn.data.access_token;

  const found = await listItems({ query: { in_stock: true, limit: 2 } });
  expect(found.data?.length === 2, found.error);
  const [item] = found.data;
  const price: Price = item.price;

  const headers = { "Idempotency-Key": "shopping-in-typescript" };
  const body: components["schemas"]["OrderCreate"] = { product_id: item.id, quantity: 1, unit_price: price };
  const placed = await createOrder({ auth, headers, body });
  expect(placed.data?.status === "placed" && placed.data.total === price, placed.error);
  const again = await getOrder({ auth, path: { order_id: placed.data.id } });
  expect(again.data?.total === price, again.error);

  const cheaper = await createOrder({
    auth,
    headers: { "Idempotency-Key": "shopping-for-a-cent-in-typescript" },
    body: { ...body, unit_price: "0.01" },
  });
  expect(cheaper.error?.code === "price_changed" && "prices" in cheaper.error, cheaper.error);
  expect(cheaper.error.prices[0].current === price, cheaper.error);
}

main(process.argv[2], process.argv[3]).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
