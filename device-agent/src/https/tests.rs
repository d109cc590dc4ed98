//! Pages under TLS: with stock curl, real nginx and a real certificate authority, over a real tunnel.

mod authority;
mod pages;
mod pebble;
mod scene;
