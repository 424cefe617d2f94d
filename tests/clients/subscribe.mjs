// Follow the notes of a tenant with graphql-ws and with Apollo, through cut connections, and print
// every event as a JSON line: `node subscribe.mjs WS_URL API_KEY CURSOR`, until standard input ends.
import { ApolloClient, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, key, since] = process.argv.slice(2);
const CREATED = 'subscription($since: String) { note: noteCreated(since: $since) { id version text } }';
const UPDATED = 'subscription($since: String) { note: noteUpdated(since: $since) { id version text } }';
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const sockets = new Set();
class Cuttable extends WebSocket {
  constructor(...given) {
    super(...given);
    sockets.add(this);
    this.on('close', () => sockets.delete(this));
  }
}
let seen = 0;
const tell = (client, kind, { data, extensions }) => {
  console.log(JSON.stringify({ client, kind, ...data.note, ...extensions }));
  seen += 1;
  if (seen % 70 === 0) for (const socket of sockets) socket.terminate(); // as a train in a tunnel
};
const common = { url, connectionParams: { apiKey: key }, webSocketImpl: Cuttable };

// graphql-ws sends `payload` again whenever it reconnects: keep the place to go on from in it.
const patient = createClient({
  ...common, shouldRetry: () => true, retryAttempts: 1000, retryWait: () => pause(100),
});
for (const [kind, query] of [['created', CREATED], ['updated', UPDATED]]) {
  const payload = { query, variables: { since } };
  patient.subscribe(payload, {
    next: (result) => {
      payload.variables.since = result.extensions.cursor;
      tell('graphql-ws', kind, result);
    },
    error: (error) => console.error('graphql-ws', kind, error),
    complete: () => {},
  });
}

// Apollo freezes its variables: let the link fail, and subscribe anew from the last cursor.
const client = createClient({ ...common, retryAttempts: 0 });
const apollo = new ApolloClient({ link: new GraphQLWsLink(client), cache: new InMemoryCache() });
for (const [kind, document] of [['created', CREATED], ['updated', UPDATED]]) {
  const query = gql(document);
  let cursor = since;
  const follow = () => {
    let over = false;
    const again = () => {
      if (!over) pause(100).then(follow);
      over = true;
    };
    apollo.subscribe({ query, variables: { since: cursor }, fetchPolicy: 'no-cache' }).subscribe({
      next: (result) => {
        if (result.error) return again();
        cursor = result.extensions.cursor;
        tell('apollo', kind, result);
      },
      error: again,
      complete: again,
    });
  };
  follow();
}

process.stdin.on('end', () => process.exit(0)).resume();
