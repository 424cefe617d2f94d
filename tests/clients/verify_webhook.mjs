// Verifies a received webhook with three libraries and with the page's sample; prints who accepts it.
// Arguments: a JSON file {secret, headers, body (base64)} and the sample as a module.
import { readFileSync } from "node:fs";
import { verify as octokit } from "@octokit/webhooks-methods";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

const cases = JSON.parse(readFileSync(process.argv[2], "utf8"));
const sample = await import(process.argv[3]);

async function accepts(check) {
  try {
    return (await check()) !== false;
  } catch {
    return false;
  }
}

const results = [];
for (const { secret, headers, body } of cases) {
  const bytes = Buffer.from(body, "base64");
  const text = bytes.toString("utf8");
  results.push({
    standardwebhooks: await accepts(() => new Standard(secret).verify(text, headers)),
    svix: await accepts(() => new Svix(secret).verify(text, headers)),
    octokit: await accepts(() => octokit(secret, text, headers["x-hubblewave-signature"])),
    sample: await accepts(() => sample.verify(secret, headers, bytes) ?? true),
    sampleBodyOnly: await accepts(() => sample.verifyBodyOnly(secret, headers, bytes) ?? true),
  });
}
console.log(JSON.stringify(results));
