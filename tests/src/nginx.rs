//! A real web server on a box, with TLS of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use tokio::net::TcpStream;

use crate::program::{Program, stock};
use crate::scene::Scene;
use crate::wait::{SOON, eventually};

/// Debian keeps it out of people's PATH.
const NGINX: &str = "/usr/sbin/nginx";

/// What its `/hello` says.
pub const HELLO: &str = "hello from the box\n";

/// An nginx, until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    pin: String,
    _process: Program,
}

impl Nginx {
    /// Starts one there, which serves `/hello`, and `/large` of so many bytes.
    pub async fn start(scene: &Arc<Scene>, address: SocketAddr, large: usize) -> Self {
        let dir = scene.new_dir("nginx");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = CertificateParams::new(["box.internal".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate can be made");
        fs::write(dir.join("page.crt"), certificate.pem()).expect("a certificate is written");
        fs::write(dir.join("page.key"), key.serialize_pem()).expect("a key is written");
        fs::write(dir.join("large"), vec![b'x'; large]).expect("a page is written");
        fs::write(dir.join("nginx.conf"), configuration(&dir, address)).expect("a configuration is written");
        let mut nginx = stock(NGINX);
        nginx.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
        let process = Program::start(scene, "nginx", nginx);
        eventually("nginx listens", SOON, async || TcpStream::connect(address).await.ok()).await;
        let pin = BASE64.encode(digest(&SHA256, &key.subject_public_key_info()).as_ref());
        Self { address, pin: format!("sha256//{pin}"), _process: process }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its public key, by which curl knows it.
    pub fn pin(&self) -> &str {
        &self.pin
    }
}

fn configuration(dir: &Path, address: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\n\
         master_process off;\n\
         pid {dir}/pid;\n\
         error_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
           uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
           server {{\n\
             listen {address} ssl http2;\n\
             ssl_certificate {dir}/page.crt; ssl_certificate_key {dir}/page.key;\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             root {dir};\n\
             location = /hello {{ return 200 \"{}\\n\"; }}\n\
             location = /large {{ }}\n\
           }}\n\
         }}\n",
        HELLO.trim_end()
    )
}
