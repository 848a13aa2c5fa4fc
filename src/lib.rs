//! Standin (map to be drawn)
pub mod gateway;
pub mod policy;
pub mod provider;
pub mod telemetry;
