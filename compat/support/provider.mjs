// An OpenID Connect provider on a free port: every visitor is signed in as the person that the
// authorization request hints at (`login_hint`), and tokens are signed with a key of its own. The
// first line on standard output is its issuer.

import { createServer } from 'node:http'
import { createHash, createSign, generateKeyPairSync, randomUUID } from 'node:crypto'

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'compat', use: 'sig', alg: 'RS256' }
const codes = new Map()
let issuer

function sign(claims) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const text = `${encode({ alg: 'RS256', typ: 'JWT', kid: jwk.kid })}.${encode(claims)}`
  return `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey, 'base64url')}`
}

function person(email) {
  const sub = createHash('sha256').update(email).digest('hex').slice(0, 16)
  return { sub, email, email_verified: true, name: 'Ada Compat', picture: `${issuer}/ada.png` }
}

function idToken(email, extra = {}) {
  const now = Math.floor(Date.now() / 1000)
  return sign({ iss: issuer, aud: 'compat-client', iat: now, exp: now + 600, ...person(email), ...extra })
}

function authorize(query, response) {
  const back = new URL(query.get('redirect_uri'))
  back.searchParams.set('state', query.get('state'))
  if (query.get('login_hint') === 'refuse') {
    back.searchParams.set('error', 'access_denied')
    back.searchParams.set('error_description', 'The person said no')
  } else {
    const code = randomUUID()
    codes.set(code, { email: query.get('login_hint'), nonce: query.get('nonce'), challenge: query.get('code_challenge') })
    back.searchParams.set('code', code)
  }
  response.writeHead(302, { location: back.href }).end()
}

function token(body, response) {
  const found = codes.get(body.get('code'))
  codes.delete(body.get('code'))
  if (!found) return json(response, 400, { error: 'invalid_grant' })
  if (found.challenge) {
    const digest = createHash('sha256').update(body.get('code_verifier') ?? '').digest('base64url')
    if (digest !== found.challenge) return json(response, 400, { error: 'invalid_grant' })
  }
  const nonce = found.nonce ? { nonce: found.nonce } : {}
  return json(response, 200, {
    access_token: `access:${found.email}`,
    refresh_token: `refresh:${found.email}`,
    token_type: 'Bearer',
    expires_in: 600,
    id_token: idToken(found.email, nonce),
  })
}

function json(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, issuer)
  let text = ''
  request.on('data', (chunk) => (text += chunk))
  request.on('end', () => {
    switch (pathname) {
      case '/.well-known/openid-configuration':
        return json(response, 200, {
          issuer,
          authorization_endpoint: `${issuer}/authorize`,
          token_endpoint: `${issuer}/token`,
          userinfo_endpoint: `${issuer}/userinfo`,
          jwks_uri: `${issuer}/jwks`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
        })
      case '/jwks':
        return json(response, 200, { keys: [jwk] })
      case '/authorize':
        return authorize(searchParams, response)
      case '/token':
        return token(new URLSearchParams(text), response)
      case '/userinfo':
        return json(response, 200, person((request.headers.authorization ?? '').replace('Bearer access:', '')))
      // For the tests of id_token sign-ins.
      case '/id_token':
        return json(response, 200, { id_token: idToken(searchParams.get('email'), Object.fromEntries([...searchParams].filter(([name]) => name !== 'email'))) })
      default:
        return json(response, 404, {})
    }
  })
})
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`
  console.log(issuer)
})
