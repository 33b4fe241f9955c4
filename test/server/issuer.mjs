// An authorization server that nobody here wrote: oidc-provider. Beside it, at /contacts/…, an API that takes its tokens while they live.
//
//   node issuer.mjs NPM_DIR PORT KEY_PEM
//
// Clients: basic, post, none (a public client), jwt (private_key_jwt with the key). Grants: client_credentials, refresh_token. POST /grant {"client", "ttl"} makes a refresh token as a
// person's consent would; it is replaced with each use. Access tokens live `ttl` seconds (POST /ttl {"ttl"}; default 5). GET /seen counts.
import { createPublicKey, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [directory, port, pem] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${directory}/node_modules/oidc-provider/lib/index.js`));
const issuer = `http://127.0.0.1:${port}`;
const jwk = { ...createPublicKey(readFileSync(pem)).export({ format: 'jwk' }), kid: 'key-1', use: 'sig', alg: 'RS256' };
const seen = { tokens: 0, refused: 0, taken: 0, rejected: 0, errors: [] };
let ttl = 5;

const client = (id, method, more = {}) => ({
  client_id: id, token_endpoint_auth_method: method, grant_types: ['client_credentials', 'refresh_token', 'authorization_code'], redirect_uris: ['https://client.example.com/cb'],
  response_types: ['code'], ...(method === 'none' || method === 'private_key_jwt' ? {} : { client_secret: 'a s3cret: with / signs & more' }), ...more,
});
const provider = new Provider(issuer, {
  clients: [client('basic client', 'client_secret_basic'), client('post', 'client_secret_post'),
    client('none', 'none', { grant_types: ['refresh_token', 'authorization_code'] }), client('jwt', 'private_key_jwt', { jwks: { keys: [jwk] } })],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none', 'private_key_jwt'],
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false }, introspection: { enabled: true } },
  scopes: ['openid', 'offline_access', 'api'],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: () => ttl, ClientCredentials: () => ttl, RefreshToken: 3600, Grant: 3600 },
});
provider.on('grant.success', () => { seen.tokens++; });
provider.on('grant.error', (_, error) => { seen.refused++; seen.errors.push(`${error.error}: ${error.error_description ?? ''} ${error.error_detail ?? ''}`); });
provider.on('server_error', (_, error) => { seen.errors.push(String(error.stack)); });

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || '{}');
}

// What remains of a person's consent: a grant, and the first refresh token of a chain.
async function consent(clientId) {
  const grant = new provider.Grant({ accountId: 'ann', clientId });
  grant.addOIDCScope('openid offline_access');
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId: 'ann', client: await provider.Client.find(clientId), grantId, gty: 'authorization_code', scope: 'openid offline_access', authTime: Math.floor(Date.now() / 1000),
    sessionUid: randomUUID(), iiat: Math.floor(Date.now() / 1000), rotations: 0, expiresWithSession: false,
  });
  return token.save();
}

async function isAlive(authorization) {
  const value = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1];
  if (!value) return false;
  const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
  return Boolean(token && !token.isExpired);
}

const listener = provider.callback();
createServer(async (request, response) => {
  const answer = (status, content) => { response.writeHead(status, { 'content-type': 'application/json' }); response.end(JSON.stringify(content)); };
  if (request.url === '/seen') return answer(200, seen);
  if (request.url === '/ttl') { ttl = (await body(request)).ttl; return answer(200, {}); }
  if (request.url === '/grant') return answer(200, { refresh_token: await consent((await body(request)).client) });
  if (!request.url.startsWith('/contacts')) return listener(request, response);
  await body(request);
  if (await isAlive(request.headers.authorization)) { seen.taken++; return answer(200, {}); }
  seen.rejected++;
  return answer(401, { error: 'invalid_token' });
}).listen(Number(port), '127.0.0.1');
