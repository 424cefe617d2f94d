"use strict";
// Shows the document of the tenant whose key is typed in; the key is sent to this server alone.
(() => {
  const address = "/api/v1/openapi.json";
  const said = document.getElementById("said");

  document.getElementById("credential").addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = document.getElementById("key").value.trim();
    const answer = await fetch(address, { headers: { "X-API-Key": key } });
    const found = await answer.json();
    if (!answer.ok) {
      said.textContent = `${answer.status} ${found.title}: ${found.detail}`;
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
