// Reads {document, answers} from standard input. Checks that the document is one of OpenAPI 3.1,
// and that each answer has the schema that the document has for it. A field that the document
// does not know is a fault. Prints a list of the faults.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const { document, answers } = JSON.parse(readFileSync(0, "utf8"));
const faults = [];

const found = await new Validator().validate(structuredClone(document));
if (!found.valid) faults.push(`the document: ${JSON.stringify(found.errors)}`);

// Fields that the document does not know are faults in this test, and no faults for clients.
// Structs that embed others are flat in the document, so each object has all its fields.
const closed = structuredClone(document);
for (const schema of Object.values(closed.components.schemas)) schema.additionalProperties = false;

const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addSchema(closed, "document");

const pointer = (part) => part.replaceAll("~", "~0").replaceAll("/", "~1");
for (const { method, template, status, type, body } of answers) {
  const name = `${method} ${template} ${status}`;
  const operation = document.paths[template]?.[method.toLowerCase()];
  if (!operation) {
    faults.push(`${name}: the document has no such operation`);
    continue;
  }
  let at = `#/paths/${pointer(template)}/${method.toLowerCase()}/responses/${status}`;
  if (!operation.responses[status]) {
    if (status < 400) faults.push(`${name}: the document has no such status`);
    at = "#/components/responses/Problem";
  }
  const validate = ajv.getSchema(`document${at}/content/${pointer(type)}/schema`);
  if (!validate) faults.push(`${name}: the document has no answer of the type ${type}`);
  else if (!validate(body)) faults.push(`${name}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(body)}`);
}
console.log(JSON.stringify(faults));
