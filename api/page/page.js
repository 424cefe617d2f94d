"use strict";
// Shows the document of the tenant whose key is typed in; the key is sent to this server alone.
(() => {
  const address = "/api/v1/openapi.json";
  const said = document.getElementById("said");
  const named = document.getElementById("entities");
  named.value = new URLSearchParams(location.search).get("entity") ?? "";

  document.getElementById("credential").addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = document.getElementById("key").value.trim();
    const entities = named.value.replace(/\s+/g, "");
    const part = entities ? `?entity=${encodeURIComponent(entities)}` : "";
    const answer = await fetch(address + part, { headers: { "X-API-Key": key } });
    const found = await answer.json();
    if (!answer.ok) {
      const why = (found.errors ?? []).map((error) => `${error.parameter}: ${error.detail}`);
      said.textContent = `${answer.status} ${found.title}: ${[found.detail, ...why].join(" ")}`;
      return;
    }
    said.textContent = `${Object.keys(found.paths).length} paths, version ${found.info["x-catalog-version"]} of your definitions.`;
    found.servers = [{ url: "/api/v1" }];
    const viewer = window.SwaggerUIBundle({
      dom_id: "#viewer",
      spec: found,
      deepLinking: true,
      docExpansion: "none",
      filter: true,
      validatorUrl: null,
      onComplete: () => viewer.preauthorizeApiKey("ApiKeyAuth", key),
    });
  });
})();
