//! A real browser: Chromium without a screen, driven as a person would.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::namespace::Namespace;
use crate::wait::eventually;

/// A browser takes its time to start on a busy machine, and so may a page.
pub const PAGE: Duration = Duration::from_secs(40);

/// What Chromium is started with: no screen, and no sandbox, which root cannot have.
const OPTIONS: [&str; 4] = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    /// Ends with the browser.
    _driver: Child,
}

impl Browser {
    /// A new one, whose reader prefers a language such as `fr`.
    pub async fn start(language: &str) -> Self {
        Self::driven_by(Command::new("chromedriver"), "127.0.0.1", language, &[]).await
    }

    /// A new one in another network, at an address of its, driven from another address, with these options
    /// besides.
    pub async fn at(place: &Namespace, address: &str, from: &str, options: &[String]) -> Self {
        let mut driver = Command::from(place.entrance());
        driver.arg("chromedriver").arg(format!("--allowed-ips={from}")).arg("--allowed-origins=*");
        Self::driven_by(driver, address, "en", options).await
    }

    async fn driven_by(mut driver: Command, address: &str, language: &str, options: &[String]) -> Self {
        let mut driver = driver
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed; tests/run does that");
        let mut lines = BufReader::new(driver.stdout.take().expect("its output is piped")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("it speaks").expect("it says where it listens");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Nobody reads what else it says, so that a full pipe cannot stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let options: Vec<&str> = OPTIONS.into_iter().chain(options.iter().map(String::as_str)).collect();
        let options = json!({ "args": options, "prefs": { "intl.accept_languages": language } });
        let wanted = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://{address}:{port}"))
            .await
            .expect("a browser starts");
        Self { client, _driver: driver }
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.goto(url).await.expect("the page opens");
    }

    /// Tries to open a page; the error that is shown in its place, such as `ERR_CONNECTION_REFUSED`.
    pub async fn error(&self, url: &str) -> String {
        self.goto(url).await.expect_err("the page does not open");
        self.see(".error-code").await.text().await.expect("the error has a name")
    }

    /// Goes to a page. Soon after its start a browser thinks once that its network has changed, and lets go of
    /// all that it has.
    async fn goto(&self, url: &str) -> Result<(), CmdError> {
        eventually(url, PAGE, async || match self.client.goto(url).await {
            Err(error) if error.to_string().contains("ERR_NETWORK_CHANGED") => None,
            // It does not tell of an error that comes when it has begun to draw the page.
            Ok(()) if self.shows_an_error().await => None,
            result => Some(result),
        })
        .await
    }

    async fn shows_an_error(&self) -> bool {
        let address = self.client.execute("return location.href", Vec::new()).await;
        address
            .is_ok_and(|address| address.as_str().is_some_and(|address| address.starts_with("chrome-error:")))
    }

    /// Where it is, without scheme and host.
    pub async fn path(&self) -> String {
        self.client.current_url().await.expect("it is somewhere").path().to_owned()
    }

    /// The element that a CSS selector means, once it is there and can be seen.
    pub async fn see(&self, selector: &str) -> Element {
        eventually(selector, PAGE, async || {
            let found = self.client.find(Locator::Css(selector)).await.ok()?;
            found.is_displayed().await.ok()?.then_some(found)
        })
        .await
    }

    /// Waits until an element says something.
    pub async fn reads(&self, selector: &str, text: &str) {
        let what = format!("{selector} says {text:?}");
        eventually(&what, PAGE, async || self.text(selector).await?.contains(text).then_some(())).await;
    }

    /// What an element says, if it is there.
    pub async fn text(&self, selector: &str) -> Option<String> {
        self.client.find(Locator::Css(selector)).await.ok()?.text().await.ok()
    }

    /// Clicks on an element once it is there. Pieces of the page may be swapped meanwhile.
    pub async fn click(&self, selector: &str) {
        eventually(&format!("a click on {selector}"), PAGE, async || {
            self.client.find(Locator::Css(selector)).await.ok()?.click().await.ok()
        })
        .await;
    }

    /// Writes into a field, in place of what stands there.
    pub async fn write(&self, selector: &str, text: &str) {
        let field = self.see(selector).await;
        field.clear().await.expect("a field can be cleared");
        field.send_keys(text).await.expect("a field can be written into");
    }

    /// Runs a script in the page; what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("the script runs")
    }

    /// Runs a script in the page that calls its last argument when it is done.
    pub async fn run_async(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.expect("the script ends")
    }

    /// Makes the window so wide.
    pub async fn resize(&self, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.expect("a window has a size");
    }

    /// Closes it.
    pub async fn close(self) {
        self.client.close().await.expect("it closes");
    }
}
