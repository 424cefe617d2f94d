// The delivery design of the original guide, as the bench's other side: BullMQ on Redis, axios, 50 at a time.
// Arguments: port of Redis, URL of the receiver, number of events. Prints {seconds, delivered, enqueue}.
// Its two database queries per delivery (read the webhook, log the attempt) are left out, in its favour.
import { createHmac, randomUUID } from "node:crypto";
import axios from "axios";
import { Queue, Worker } from "bullmq";

const [port, url, count] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };
const secret = "0123456789abcdef0123456789abcdef";
const queue = new Queue("webhook-delivery", {
  connection,
  defaultJobOptions: {
    attempts: 10,
    backoff: { type: "exponential", delay: 1000 },
    removeOnComplete: { count: 1000, age: 24 * 3600 },
    removeOnFail: { age: 7 * 24 * 3600 },
  },
});

const data = { name: "Contact", notes: "x".repeat(500) };
const enqueueing = performance.now();
for (let at = 0; at < Number(count); at += 500) {
  const size = Math.min(500, Number(count) - at);
  const jobs = Array.from({ length: size }, () => ({
    name: "deliver",
    data: { webhookId: "w1", event: "contact.created", data, timestamp: new Date().toISOString() },
  }));
  await queue.addBulk(jobs);
}
const enqueue = (performance.now() - enqueueing) / 1000;

async function deliver(payload) {
  const body = {
    event: payload.event, data: payload.data, timestamp: payload.timestamp, webhookId: payload.webhookId,
  };
  const signature = `sha256=${createHmac("sha256", secret).update(JSON.stringify(body)).digest("hex")}`;
  await axios.post(url, body, {
    headers: {
      "Content-Type": "application/json",
      "X-HubbleWave-Signature": signature,
      "X-HubbleWave-Event": payload.event,
      "X-HubbleWave-Delivery": randomUUID(),
    },
    timeout: 30000,
    validateStatus: (status) => status >= 200 && status < 300,
  });
}

const started = performance.now();
let delivered = 0;
const worker = new Worker("webhook-delivery", (job) => deliver(job.data), { connection, concurrency: 50 });
await new Promise((resolve, reject) => {
  worker.on("completed", () => {
    delivered += 1;
    if (delivered === Number(count)) resolve();
  });
  worker.on("failed", (_, error) => reject(error));
});
const seconds = (performance.now() - started) / 1000;
console.log(JSON.stringify({ seconds, delivered, enqueue }));
await worker.close();
await queue.close();
