// Uploads a form as pages and Node.js do: upload.mjs URL KEY
import process from 'node:process';

const [url, key] = process.argv.slice(2);
const form = new FormData();
form.append('u', key);
form.append('d', '-a-general\n  profileWords=x');
form.append('a', new File(['RIFF and so on'], 'C:\\予算\\"表".wav', { type: 'audio/wav' }));
process.stdout.write(await (await fetch(url, { method: 'POST', body: form })).text());
