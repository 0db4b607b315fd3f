//! The plugin configuration: read, typed, checked, and turned into a [`Policy`].

mod check;
mod check_existence;
mod check_health;
mod check_memory;
mod check_origin;
mod check_routes;
mod parse;
mod policy;
mod router;
pub mod schema;
mod schema_existence;
mod schema_health;
mod schema_origin;
mod schema_routes;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_existence;
pub mod units;
mod wire;

pub use parse::ConfigError;
pub use policy::{
    CoherencePolicy, L2Policy, OriginPolicy, Policy, ProtectionPolicy, PurgePolicy, Rule, WriteRule,
};
pub use router::Router;
pub use schema::{Role, Transport};

/// Turns the bytes of a plugin configuration into a policy.
///
/// # Errors
/// Everything that is wrong with it, each with the JSON path.
pub fn load(bytes: &[u8]) -> Result<Policy, Vec<ConfigError>> {
    let value = wire::read(bytes).map_err(|message| vec![ConfigError::new("", message)])?;
    let (config, mut errors, removed) = parse::parse(value);
    let policy = check::compile(&config, &mut errors, &removed);
    if errors.is_empty() { Ok(policy) } else { Err(errors) }
}

/// The JSON Schema of the plugin configuration, as it lies in `envoy/tiercel.schema.json`.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(schema::Config).to_value()
}
