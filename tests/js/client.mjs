// A thin typed client of the Worker's API: openapi-fetch over the types generated from edge/openapi.yaml.
// @ts-check
import createFetchClient from 'openapi-fetch'

/** @typedef {import('../.types/api.js').paths} Paths */
/** @typedef {import('../.types/api.js').components['schemas']} Schemas */

/**
 * The API at an address, as a person when a token is given. Answers are openapi-fetch's `{data, error, response}`, where
 * `data` is the envelope of a success and `error` that of a failure.
 * @param {string} apiUrl the Worker's address without the path, for example http://127.0.0.1:8787
 * @param {{token?: string, language?: 'th' | 'en'}} [options]
 */
export function createApiClient(apiUrl, { token, language } = {}) {
  const headers = {
    ...(token && { authorization: `Bearer ${token}` }),
    ...(language && { 'accept-language': language }),
  }
  return /** @type {ReturnType<typeof createFetchClient<Paths, 'application/json'>>} */ (
    createFetchClient({ baseUrl: `${apiUrl}/api/v1`, headers }))
}
