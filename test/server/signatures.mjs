// An API that checks signatures with other people's code: @smithy/signature-v4 (the signer of AWS's own SDK) and standardwebhooks.
//
//   node signatures.mjs NPM_DIR PORT
//
// /aws/… and /s3/… must carry a Signature Version 4 of access key AKIDEXAMPLE, region eu-central-1, service "service" or "s3"; /hook a Standard Webhooks
// signature of one of the secrets below; /hub/… the hex HMAC-SHA256 of the body. What is right is answered 200 {}, what is not 401 and why.
// GET /seen tells how many of each were right and wrong.
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { gunzipSync } from 'node:zlib';

const [directory, port] = process.argv.slice(2);
const require = createRequire(`${directory}/package.json`);
const { SignatureV4 } = require('@smithy/signature-v4');
const { Sha256 } = require('@aws-crypto/sha256-js');
const { Webhook } = require('standardwebhooks');

const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY', sessionToken: 'session+token/==' };
const WEBHOOK_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const HUB_SECRET = "It's a Secret to Everybody";
const seen = { right: {}, wrong: {}, reasons: [] };

function signedHeaders(authorization, headers) {
  const names = /SignedHeaders=([^,]*)/.exec(authorization)[1].split(';');
  return Object.fromEntries(names.filter((n) => !['x-amz-date', 'x-amz-security-token'].includes(n)).map((n) => [n, headers[n]]));
}

async function checkAws(service, request, url, body) {
  const given = request.headers.authorization;
  if (!given) throw new Error('no Authorization');
  const signer = new SignatureV4({ credentials, region: 'eu-central-1', service, sha256: Sha256, uriEscapePath: service !== 's3', applyChecksum: service === 's3' });
  const [, y, m, d, h, i, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(request.headers['x-amz-date']);
  // S3 signs the path in its canonical spelling, whatever the wire has.
  const spell = (piece) => encodeURIComponent(decodeURIComponent(piece)).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
  const path = service === 's3' ? url.pathname.split('/').map(spell).join('/') : url.pathname;
  const query = {};
  for (const [name, value] of url.searchParams) query[name] = name in query ? [].concat(query[name], value) : value;
  const headers = signedHeaders(given, request.headers);
  if (service === 's3') delete headers['x-amz-content-sha256']; // computed anew
  const signed = await signer.sign({ method: request.method, protocol: 'http:', hostname: '127.0.0.1', path, query, headers, body },
    { signingDate: new Date(Date.UTC(y, m - 1, d, h, i, s)) });
  if (signed.headers.authorization !== given) throw new Error(`signed ${given}\nexpected ${signed.headers.authorization}`);
  if (Math.abs(Date.now() - Date.UTC(y, m - 1, d, h, i, s)) > 300e3) throw new Error('too old');
}

function checkHub(request, body) {
  const expected = 'sha256=' + createHmac('sha256', HUB_SECRET).update(body).digest('hex');
  if (request.headers['x-hub-signature-256'] !== expected) throw new Error(`signed ${request.headers['x-hub-signature-256']}, expected ${expected}`);
}

async function check(request, url, body) {
  const kind = url.pathname.split('/')[1];
  if (kind === 'aws') await checkAws('service', request, url, body);
  else if (kind === 's3') await checkAws('s3', request, url, body);
  else if (kind === 'hook') new Webhook(WEBHOOK_SECRET).verify(body.toString('utf8'), request.headers);
  else if (kind === 'hub') checkHub(request, body);
  else throw new Error(`no such path: ${url.pathname}`);
  JSON.parse(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const url = new URL(request.url, 'http://127.0.0.1');
  const kind = url.pathname.split('/')[1];
  const answer = (status, content) => { response.writeHead(status, { 'content-type': 'application/json' }); response.end(JSON.stringify(content)); };
  if (kind === 'seen') return answer(200, seen);
  try {
    await check(request, url, Buffer.concat(chunks));
    seen.right[kind] = (seen.right[kind] ?? 0) + 1;
    answer(200, {});
  } catch (error) {
    seen.wrong[kind] = (seen.wrong[kind] ?? 0) + 1;
    seen.reasons.push(`${kind}: ${error.message}`);
    answer(401, { error: error.message });
  }
}).listen(Number(port), '127.0.0.1');
