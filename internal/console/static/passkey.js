// Passkeys. A form with data-passkey gets a challenge from the server, asks the browser's
// authenticator, and sends its answer. Without passkeys in the browser the form stays hidden.
"use strict";

{
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const fields = (object, names) => Object.fromEntries(names.filter((name) => object[name]).map((name) => [name, text(object[name])]));

  const challenge = async (form) => {
    const response = await fetch(form.dataset.options, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (response.redirected) location.reload(); // the session is over
    const { options, problem } = await response.json();
    if (problem) throw { problem };
    return options.publicKey;
  };
  const create = async (form) => {
    const options = await challenge(form);
    options.challenge = bytes(options.challenge);
    options.user.id = bytes(options.user.id);
    for (const known of options.excludeCredentials ?? []) known.id = bytes(known.id);
    const made = await navigator.credentials.create({ publicKey: options });
    return [made, fields(made.response, ["clientDataJSON", "attestationObject"])];
  };
  const get = async (form) => {
    const options = await challenge(form);
    options.challenge = bytes(options.challenge);
    const used = await navigator.credentials.get({ publicKey: options });
    return [used, fields(used.response, ["clientDataJSON", "authenticatorData", "signature", "userHandle"])];
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!window.PublicKeyCredential || location.origin !== form.dataset.origin) {
      document.getElementById("no-passkeys")?.removeAttribute("hidden");
      continue;
    }
    const button = form.querySelector("button"), problem = form.querySelector("[role=alert]");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      problem.hidden = true;
      try {
        const [credential, response] = await (form.dataset.passkey === "create" ? create : get)(form);
        const id = text(credential.rawId);
        form.elements.answer.value = JSON.stringify({ id, rawId: id, type: credential.type, response });
        for (const field of form.querySelectorAll("input:not([type=hidden])")) field.disabled = true; // the server has them
        form.submit();
      } catch (error) {
        const told = { NotAllowedError: problem.dataset.cancelled, InvalidStateError: problem.dataset.known };
        problem.textContent = error.problem ?? told[error.name] ?? problem.dataset.failed;
        problem.hidden = false;
        button.disabled = false;
      }
    });
  }
}
