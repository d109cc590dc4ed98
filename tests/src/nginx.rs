//! A real web server on a box, with TLS of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use crate::certificate::Certificate;
use crate::namespace::Namespace;
use crate::program::{Program, stock_in};
use crate::scene::Scene;
use crate::wait::{SOON, eventually};

/// Debian keeps it out of people's PATH.
const NGINX: &str = "/usr/sbin/nginx";

/// What its `/hello` says.
pub const HELLO: &str = "hello from the box\n";

/// Where the page is that needs TLS, in a network of its own.
const WITH_TLS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 443);

/// Where the same page is without.
const WITHOUT_TLS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

/// Where `/echo` is passed on to.
const ECHO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// An nginx, until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    certificate: Certificate,
    _process: Program,
    _echo: Option<Program>,
}

impl Nginx {
    /// Starts one there, which serves `/hello`, and `/large` of so many bytes.
    pub async fn start(scene: &Arc<Scene>, address: SocketAddr, large: usize) -> Self {
        Self::listening(None, scene, address, &format!("listen {address} ssl http2;"), large).await
    }

    /// The same in another network, on the usual ports of its loopback, with and without TLS. A websocket to
    /// `/echo` is answered line by line by websocketd.
    pub async fn at(place: &Namespace, scene: &Arc<Scene>, large: usize) -> Self {
        let mut websocketd = stock_in(Some(place), "websocketd");
        let port = ECHO.port().to_string();
        websocketd.args(["--address", &ECHO.ip().to_string(), "--port", &port, "cat"]);
        let echo = Program::start(scene, "websocketd", websocketd);
        listens(Some(place), ECHO).await;
        let listen = format!("listen {WITH_TLS} ssl http2; listen {WITHOUT_TLS};");
        Self { _echo: Some(echo), ..Self::listening(Some(place), scene, WITH_TLS, &listen, large).await }
    }

    async fn listening(
        place: Option<&Namespace>,
        scene: &Arc<Scene>,
        address: SocketAddr,
        listen: &str,
        large: usize,
    ) -> Self {
        let dir = scene.new_dir("nginx");
        let certificate = Certificate::make(&dir, "box.internal");
        fs::write(dir.join("large"), vec![b'x'; large]).expect("a page is written");
        fs::write(dir.join("nginx.conf"), configuration(&dir, listen)).expect("a configuration is written");
        let mut nginx = stock_in(place, NGINX);
        nginx.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
        let process = Program::start(scene, "nginx", nginx);
        listens(place, address).await;
        Self { address, certificate, _process: process, _echo: None }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its public key, by which curl knows it.
    pub fn pin(&self) -> String {
        self.certificate.pin()
    }
}

async fn listens(place: Option<&Namespace>, address: SocketAddr) {
    let connect = || TcpStream::connect(address).ok();
    eventually(&format!("something listens on {address}"), SOON, async || {
        place.map_or_else(connect, |place| place.enter(connect))
    })
    .await;
}

fn configuration(dir: &Path, listen: &str) -> String {
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
             {listen}\n\
             ssl_certificate {dir}/page.crt; ssl_certificate_key {dir}/page.key;\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             root {dir};\n\
             location = / {{ default_type text/html; return 200 \"<title>box42</title><h1>{}</h1>\"; }}\n\
             location = /hello {{ return 200 \"{}\\n\"; }}\n\
             location = /visitor {{ return 200 \"$http_x_forwarded_for\"; }}\n\
             location = /large {{ }}\n\
             location = /slow {{ alias {dir}/large; limit_rate 1m; }}\n\
             location = /echo {{\n\
               proxy_pass http://{ECHO}/; proxy_http_version 1.1;\n\
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
             }}\n\
           }}\n\
         }}\n",
        HELLO.trim_end(),
        HELLO.trim_end()
    )
}
