// A client of openapi-fetch over the types that openapi-typescript makes of a tenant's document
// (./api.d.ts beside a copy of this file): what an application developer writes, under --strict.
// Prints what it saw as one JSON line; the test compares that with the database's truth.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string | undefined>; exitCode?: number };

type Problem = components["schemas"]["platform_Problem"];
type Customer = components["schemas"]["Customer"];

const client = createClient<paths>({
  baseUrl: `${process.env.API_URL}/api/v1`,
  headers: { "X-API-Key": process.env.API_KEY },
});

function given<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

const made = await client.POST("/customers", {
  body: { code: "T-1", name: "Ada", tier: "pro", aDecimal: "12.50", aInteger: 7, aJson: { deep: [1] } },
  params: { header: { "Idempotency-Key": "ts-1" } },
});
const ada: Customer = given(made);
const etag = made.response.headers.get("etag") ?? "";

const read = given(await client.GET("/customers/{id}", { params: { path: { id: ada.id }, query: { expand: "parent" } } }));
const boss: components["schemas"]["Customer_Part"] | null | undefined = read.parent;

const patched = await client.PATCH("/customers/{id}", {
  params: { path: { id: ada.id }, header: { "If-Match": etag } },
  body: { name: "Ada L.", aInteger: null },
});
const stale = await client.PATCH("/customers/{id}", {
  params: { path: { id: ada.id }, header: { "If-Match": etag } },
  body: { name: "Too late" },
});
const late: Problem | undefined = stale.error;

const refused = await client.POST("/customers", {
  // @ts-expect-error: `gold` is not in the enum, and `name` is missing
  body: { code: "T-2", tier: "gold" },
});
const why: Problem | undefined = refused.error;

const bulk = given(
  await client.POST("/customers/bulk", {
    body: {
      atomic: false,
      items: [
        { code: "T-3", name: "Grace", tier: "free", parentId: ada.id },
        { code: "T-1", name: "Again", tier: "free" },
      ],
    },
  }),
);

const filtered = given(
  await client.GET("/customers", { params: { query: { filter: { tier: "pro" }, count: "exact", fields: "id,name" } } }),
);
const where = given(
  await client.GET("/customers", { params: { query: { where: JSON.stringify({ parent: { code: { eq: "T-1" } } }) } } }),
);
const queried = given(
  await client.POST("/customers/query", { body: { where: { children: { some: { tier: { in: ["free"] } } } } } }),
);
const children = given(await client.GET("/customers/{id}/children", { params: { path: { id: ada.id } } }));

const grace = bulk.items[0]?.id ?? "";
const deleted = await client.DELETE("/customers/{id}", { params: { path: { id: grace } } });
const gone = await client.GET("/customers/{id}", { params: { path: { id: grace } } });

// What the types must refuse; tsc fails when one of these lines is no error.
// @ts-expect-error: a text field takes no number
client.PATCH.length > 99 && (await client.PATCH("/customers/{id}", { params: { path: { id: "" } }, body: { name: 7 } }));
// @ts-expect-error: an entity that the tenant does not have
client.GET.length > 99 && (await client.GET("/invoices"));
// @ts-expect-error: a field that the definition does not have
ada.nmae;

console.log(
  JSON.stringify({
    made: { status: made.response.status, etag, ada },
    boss,
    patched: given(patched),
    stale: { status: stale.response.status, code: late?.code },
    refused: { status: refused.response.status, errors: why?.errors },
    bulk,
    filtered,
    where: where.items.map((found) => found.code),
    queried: queried.items.map((found) => found.code),
    children: children.items.map((found) => found.code),
    deleted: deleted.response.status,
    gone: { status: gone.response.status, code: gone.error?.code },
  }),
);
