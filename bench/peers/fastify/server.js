// The shop on Fastify and pg: a pool, named (prepared) statements, responses by schema (fast-json-stringify).
import jwt from "@fastify/jwt";
import Fastify from "fastify";
import pg from "pg";

pg.types.setTypeParser(20, Number); // bigint
// timestamptz: as RFC 3339 writes it, without a Date between.
pg.types.setTypeParser(1184, (text) => `${text.replace(" ", "T")}:00`);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 7, options: "-c timezone=UTC" });
const prepared = (name, text) => (...values) => ({ name, text, values });

const ITEM = `id, sku, name, description, category, price, stock, is_active, version, created_at, updated_at`;
const item = prepared("item", `SELECT ${ITEM} FROM items WHERE id = $1`);
const items = prepared("items", `SELECT ${ITEM} FROM items ORDER BY items.id LIMIT $1`);
const search = prepared("search", `SELECT ${ITEM} FROM items, websearch_to_tsquery('english', $1) AS query
  WHERE search @@ query ORDER BY ts_rank(search, query) DESC, items.id LIMIT $2`);
const profile = prepared("profile", `SELECT id, email, full_name, is_active, is_admin, email_verified, created_at
  FROM users WHERE id = $1`);
const ownOrders = prepared("own_orders", `SELECT id, user_id, status, total, created_at FROM orders
  WHERE user_id = $1 ORDER BY orders.id DESC LIMIT $2`);
const linesOf = prepared("lines", `SELECT order_id, product_id, name, quantity, unit_price FROM order_lines
  WHERE order_id = ANY ($1) ORDER BY id`);
const lockItems = prepared("lock_items", "SELECT id, name, price, stock FROM items WHERE id = ANY ($1) ORDER BY id FOR UPDATE");
const insertOrder = prepared("insert_order", `INSERT INTO orders (user_id, total) VALUES ($1, $2)
  RETURNING id, user_id, status, total, created_at`);
const insertLines = prepared("insert_lines", `INSERT INTO order_lines (order_id, product_id, name, quantity, unit_price)
  SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::integer[], $5::numeric[])`);
const takeStock = prepared("take_stock", `UPDATE items SET stock = stock - taken.quantity
  FROM unnest($1::bigint[], $2::integer[]) AS taken (id, quantity) WHERE items.id = taken.id`);

const object = (properties) => ({ type: "object", properties, required: Object.keys(properties) });
const [integer, string, boolean] = ["integer", "string", "boolean"].map((type) => ({ type }));
const Item = object({
  id: integer, sku: string, name: string, description: string, category: string, price: string, stock: integer,
  is_active: boolean, version: integer, created_at: string, updated_at: string,
});
const User = object({
  id: integer, email: string, full_name: string, is_active: boolean, is_admin: boolean, email_verified: boolean,
  created_at: string,
});
const Line = object({ product_id: integer, name: string, quantity: integer, unit_price: string });
const Order = object({
  id: integer, user_id: integer, status: string, total: string, created_at: string,
  lines: { type: "array", items: Line },
});
const many = (of) => ({ type: "array", items: of });
const answers = (of, status = 200) => ({ response: { [status]: of } });
const Limit = { type: "object", properties: { limit: { type: "integer", minimum: 1, maximum: 100, default: 10 }, search: string } };
const NewOrder = object({
  lines: { ...many(object({ product_id: integer, quantity: { type: "integer", minimum: 1 } })), minItems: 1 },
});

const app = Fastify({ logger: true, disableRequestLogging: true });
app.addHook("onResponse", (request, reply, done) => {
  request.log.info({ method: request.method, url: request.url, status: reply.statusCode, ms: reply.elapsedTime });
  done();
});
// Verified tokens are remembered; without a cacheKeyBuilder of one's own each would be hashed to find it.
await app.register(jwt, {
  secret: { public: process.env.JWT_PUBLIC_KEY },
  verify: { algorithms: ["ES256"], cache: 1000, cacheTTL: Infinity, cacheKeyBuilder: (token) => token },
});
const signedIn = { onRequest: (request) => request.jwtVerify() };
const problem = (statusCode, message) => Object.assign(new Error(message), { statusCode });

async function oneItem(request, reply) {
  const { rows } = await pool.query(item(request.params.id));
  if (!rows.length) throw problem(404, "Item not found");
  const tag = `"${rows[0].version}"`;
  reply.header("etag", tag);
  if (request.headers["if-none-match"] === tag) return reply.code(304).send();
  return rows[0];
}

async function manyItems(request) {
  const { limit, search: words } = request.query;
  return (await pool.query(words ? search(words, limit) : items(limit))).rows;
}

async function placeOrder(request, reply) {
  const { lines } = request.body;
  const ids = lines.map((line) => line.product_id);
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const found = new Map((await client.query(lockItems(ids))).rows.map((row) => [row.id, row]));
    let cents = 0;
    for (const { product_id, quantity } of lines) {
      const row = found.get(product_id);
      if (!row) throw problem(404, "Item not found");
      if (row.stock < quantity) throw problem(409, "Not enough stock");
      cents += Math.round(Number(row.price) * 100) * quantity;
    }
    const [names, prices] = ["name", "price"].map((key) => ids.map((id) => found.get(id)[key]));
    const quantities = lines.map((line) => line.quantity);
    const order = (await client.query(insertOrder(request.user.sub, (cents / 100).toFixed(2)))).rows[0];
    await client.query(insertLines(order.id, ids, names, quantities, prices));
    await client.query(takeStock(ids, quantities));
    await client.query("COMMIT");
    reply.code(201);
    return {
      ...order,
      lines: lines.map((line, i) => ({ ...line, name: names[i], unit_price: prices[i] })),
    };
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

const Path = { params: object({ id: integer }) };
for (const [prefix, options] of [["", {}], ["/members", signedIn]]) {
  app.get(`${prefix}/items/:id`, { ...options, schema: { ...Path, ...answers(Item) } }, oneItem);
  app.get(`${prefix}/items`, { ...options, schema: { querystring: Limit, ...answers(many(Item)) } }, manyItems);
}
app.get("/profile", { ...signedIn, schema: answers(User) }, async (request) => {
  const { rows } = await pool.query(profile(request.user.sub));
  if (!rows.length) throw problem(401, "No such user");
  return rows[0];
});
app.get("/orders", { ...signedIn, schema: { querystring: Limit, ...answers(many(Order)) } }, async (request) => {
  const orders = (await pool.query(ownOrders(request.user.sub, request.query.limit))).rows;
  const byId = new Map(orders.map((order) => [order.id, Object.assign(order, { lines: [] })]));
  for (const line of (await pool.query(linesOf([...byId.keys()]))).rows) byId.get(line.order_id).lines.push(line);
  return orders;
});
app.post("/orders", { ...signedIn, schema: { body: NewOrder, ...answers(Order, 201) } }, placeOrder);

for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => app.close().then(() => pool.end()));
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
