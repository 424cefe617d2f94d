// The audit of graphql-http: `node graphql-audit.mjs URL API_KEY` prints one JSON line of outcomes.
import { auditServer } from 'graphql-http';

const [url, key] = process.argv.slice(2);
const fetchFn = (address, options = {}) =>
  fetch(address, { ...options, headers: { ...options.headers, 'x-api-key': key } });
const results = await auditServer({ url, fetchFn });
const outcomes = results.map(({ id, name, status, reason }) => ({ id, name, status, reason }));
console.log(JSON.stringify(outcomes));
