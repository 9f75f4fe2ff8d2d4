// Reads queries as qs, which Express uses, does. otherparsers_test.go describes the lines.
const qs = require('qs');
const hex = (text) => Buffer.from(String(text)).toString('hex');
const flatten = (value) => (value !== null && typeof value === 'object' ? Object.values(value).flatMap(flatten) : [value]);

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [kind, arg = ''] = line.split(' ');
  const text = Buffer.from(arg, 'hex').toString();
  const out = [];
  try {
    if (kind === 'query') {
      for (const [name, value] of Object.entries(qs.parse(text))) {
        out.push(...flatten(value).map((v) => `${hex(name)}=${hex(v)}`));
      }
    } else if (kind === 'pairs') {
      for (const token of text.split(/\s+/)) {
        const [name, value] = decodeURIComponent(token).split(/=(.*)/s);
        if (value !== undefined && (name.toLowerCase() === 'authorization' || name.toUpperCase() === 'AUTHORIZATION')) {
          out.push(`${hex('authorization')}=${hex(value)}`);
        }
      }
    }
  } catch {
    out.length = 0; // a parser that gives up reads no key
  }
  console.log(out.join(' '));
});
