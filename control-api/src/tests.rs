//! The API as a whole: real HTTP on port 0, a real database in a directory of its own.

mod accesses;
mod accounts;
mod audit;
mod auth;
mod consent;
mod console;
mod cuts;
mod devices;
mod durability;
mod etag;
mod feed;
mod harness;
mod host_keys;
mod http;
mod idempotency;
mod isolation;
mod join;
mod labels;
mod leases;
mod limits;
mod metrics;
mod retention;
mod routes;
mod sessions;
mod tls;
mod users;
mod verify;
mod visits;
mod wait;
mod webhooks;

use harness::{Api, KEY};
