"use strict";
// GraphiQL with the key typed above it; the key is held by nothing but this script's memory.
const form = document.getElementById("credential");
const said = document.getElementById("said");
let root = null;

async function ask(key, body) {
  const answer = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": key },
    body: JSON.stringify(body),
  });
  return answer.json();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = document.getElementById("key").value.trim();
  const known = await ask(key, { query: "{ schemaVersion }" });
  if (known.errors) {
    said.textContent = known.errors[0].message;
    return;
  }
  said.textContent = `Version ${known.data.schemaVersion} of the definitions.`;
  if (root !== null) root.unmount();
  root = ReactDOM.createRoot(document.getElementById("graphiql"));
  root.render(
    React.createElement(GraphiQL, {
      fetcher: (parameters) => ask(key, parameters),
      plugins: [GraphiQLPluginExplorer.explorerPlugin()],
      defaultEditorToolsVisibility: true,
      defaultQuery: "{\n  schemaVersion\n}\n",
      isHeadersEditorEnabled: false,
      shouldPersistHeaders: false,
    }),
  );
});
