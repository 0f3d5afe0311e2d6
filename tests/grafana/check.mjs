// check.mjs FILE...: is each of these dashboards one by model.ts? Runs where the packages of
// package.json are installed (the working directory).
import { copyFileSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const installed = createRequire(join(process.cwd(), 'package.json'));
const { createGenerator } = installed('ts-json-schema-generator');
const Ajv = installed('ajv');

// Beside its packages, or its imports are not found.
copyFileSync(join(here, 'model.ts'), 'model.ts');
copyFileSync(join(here, 'tsconfig.json'), 'tsconfig.json');
const schema = createGenerator({
  path: 'model.ts',
  tsconfig: 'tsconfig.json',
  type: 'File',
  expose: 'none', // two types of theirs have one name
  additionalProperties: false,
}).createSchema('File');
const validate = new Ajv({ allErrors: true, discriminator: false, strict: false }).compile(schema);

let wrong = 0;
for (const file of process.argv.slice(2)) {
  if (!validate(JSON.parse(readFileSync(file, 'utf8')))) {
    wrong += 1;
    for (const error of validate.errors) {
      console.log(`${file}: ${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
    }
  }
}
console.log(`${process.argv.length - 2 - wrong} of ${process.argv.length - 2} are by the schema`);
process.exit(wrong === 0 ? 0 : 1);
