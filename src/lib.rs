//! Standin (map to be drawn)
pub mod config;
pub mod demo;
pub mod gateway;
pub mod policy;
pub mod provider;
pub mod server;
pub mod telemetry;
