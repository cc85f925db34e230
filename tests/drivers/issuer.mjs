// A real OpenID Connect issuer (the npm package oidc-provider, certified by the OpenID Foundation) on loopback.
//
//   node issuer.mjs CERTIFICATE KEY        NODE_PATH names the folder that has oidc-provider
//
// It says its address, then obeys lines on standard input and answers each with a line:
//   approve USER_CODE ACCOUNT   what a person does in a browser
//   decline USER_CODE
//   service                     a token by the client credentials grant
//   rotate                      other keys from now on; logins that are under way are forgotten
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const package_file = join(process.env.NODE_PATH, 'oidc-provider', 'lib', 'index.js');
const { Provider } = await import(pathToFileURL(package_file));

const [certificate, key] = process.argv.slice(2).map((file) => readFileSync(file));
const RESOURCE = 'urn:example:warder';
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const SECRET = 'a-secret-that-only-this-test-knows';

let generation = 0;

function signingKey(type, options, algorithm) {
  const { privateKey } = generateKeyPairSync(type, options);
  const kid = `${type}-${generation}`;
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig' };
}

function provider(issuer) {
  generation += 1;
  return new Provider(issuer, {
    jwks: {
      keys: [
        signingKey('rsa', { modulusLength: 2048 }, 'RS256'),
        signingKey('ec', { namedCurve: 'P-256' }, 'ES256'),
      ],
    },
    clients: [
      {
        client_id: 'warder-login',
        token_endpoint_auth_method: 'none',
        grant_types: [DEVICE_GRANT, 'refresh_token'],
        redirect_uris: [],
        response_types: [],
      },
      {
        client_id: 'nightly-report',
        client_secret: SECRET,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, _resource, client) => ({
          scope: 'query',
          audience: 'warder',
          accessTokenTTL: 600,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: client.clientId === 'nightly-report' ? 'ES256' : 'RS256' } },
        }),
      },
    },
    cookies: { keys: ['cookies-of-this-test'] },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (_ctx, token) => (token.accountId ? { groups: ['analysts'] } : undefined),
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    ttl: { ClientCredentials: 600, DeviceCode: 600, Grant: 3600, RefreshToken: 3600 },
  });
}

async function waiting(userCode) {
  const code = await oidc.DeviceCode.findByUserCode(userCode.replaceAll('-', ''));
  if (!code) throw new Error('no such code');
  return code;
}

async function approve(userCode, accountId) {
  const code = await waiting(userCode);
  const grant = new oidc.Grant({ accountId, clientId: code.clientId });
  const scope = 'openid offline_access';
  grant.addOIDCScope(scope);
  grant.addResourceScope(RESOURCE, 'query');
  const authTime = Math.floor(Date.now() / 1000);
  Object.assign(code, { accountId, authTime, grantId: await grant.save(), resource: RESOURCE, scope: `${scope} query` });
  await code.save();
  return 'approved';
}

async function decline(userCode) {
  const code = await waiting(userCode);
  await Object.assign(code, { error: 'access_denied', errorDescription: 'declined' }).save();
  return 'declined';
}

async function service() {
  const asking = request(`${issuer}/token`, {
    method: 'POST',
    rejectUnauthorized: false, // it asks itself
    auth: `nightly-report:${SECRET}`,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
  asking.end('grant_type=client_credentials&scope=query');
  const [answer] = await once(asking, 'response');
  let text = '';
  for await (const part of answer) text += part;
  const { access_token: token } = JSON.parse(text);
  if (!token) throw new Error(text);
  return token;
}

function rotate() {
  oidc = provider(issuer);
  return 'rotated';
}

const server = createServer({ cert: certificate, key }, (asked, answer) => oidc.callback()(asked, answer));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `https://127.0.0.1:${server.address().port}`;
// Its notices go to standard error: standard output is the answers.
console.info = console.error;
console.warn = console.error;
let oidc = provider(issuer);
console.log(issuer);

const verbs = { approve, decline, service, rotate };
for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...parameters] = line.split(' ');
  try {
    console.log(await verbs[verb](...parameters));
  } catch (error) {
    console.log(`error: ${error.message}`);
  }
}
process.exit(0);
