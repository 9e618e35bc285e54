//! Who is calling: API keys and the authenticator chain.
