"use strict";
async function show() {
  const place = document.getElementById("status");
  const answer = await fetch("/api/v1/explain");
  const said = await answer.json();
  place.textContent = answer.ok
    ? said.tiers.map((tier) => `${tier.tier}\n${tier.text}`).join("\n")
    : said.error;
}
show();
setInterval(show, 1000);
