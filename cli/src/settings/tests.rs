use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A home with some settings files.
struct Home {
    dir: tempfile::TempDir,
    places: Places,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::within(dir.path());
        Self { places, dir }
    }

    fn put(&self, path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    fn own(&self, text: &str) -> &Self {
        self.put(&self.places.config_file(), text);
        self
    }

    fn of_up(&self, text: &str) -> &Self {
        self.put(&client_file(self.places.up()), text);
        self
    }

    fn named(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        self.put(&path, text);
        path
    }

    fn settle(&self, target: &Target, variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::settle(target, variable, &self.places)
    }

    fn choice(&self, target: &Target, variables: &[(&str, &str)]) -> (String, String) {
        let settings = self.settle(target, variables).expect("settings that fit");
        (settings.api.to_string(), settings.token.reveal().to_owned())
    }
}

fn pair(api: &str, token: &str) -> (String, String) {
    (api.to_owned(), token.to_owned())
}

#[test]
fn flags_come_before_the_environment_and_that_before_files() {
    let home = Home::new();
    home.own("api = \"https://own\"\ntoken = \"pst_own\"")
        .of_up("api = \"http://127.0.0.1:1\"\ntoken = \"pst_up\"");
    let token_file = Some(home.named("token", "pst_flag\n"));
    let config = Some(home.named("other.toml", "api = \"https://other\"\ntoken = \"pst_other\""));
    let other_path = config.clone().unwrap();
    let other_path = other_path.to_str().unwrap();
    let flags = |api: Option<&str>, token_file: &Option<PathBuf>, config: &Option<PathBuf>| Target {
        api: api.map(str::to_owned),
        token_file: token_file.clone(),
        config: config.clone(),
        ..Target::default()
    };
    let none = &None;
    let env_api = ("POSTERN_API", "https://env");
    let env_token = ("POSTERN_TOKEN", "pst_env");
    let env_config = ("POSTERN_CONFIG", other_path);
    let table: [(Target, &[(&str, &str)], _); 8] = [
        (flags(None, none, none), &[], pair("https://own/", "pst_own")),
        (
            flags(None, none, none),
            &[("POSTERN_API", ""), ("POSTERN_TOKEN", "")],
            pair("https://own/", "pst_own"),
        ),
        (flags(None, none, none), &[env_config], pair("https://other/", "pst_other")),
        (flags(None, none, &config), &[("POSTERN_CONFIG", "/nowhere")], pair("https://other/", "pst_other")),
        (flags(None, none, none), &[env_token], pair("https://own/", "pst_env")),
        (flags(None, none, none), &[env_api, env_token], pair("https://env/", "pst_env")),
        (flags(None, &token_file, none), &[env_token], pair("https://own/", "pst_flag")),
        (flags(Some("https://flag"), &token_file, none), &[env_api], pair("https://flag/", "pst_flag")),
    ];
    for (target, variables, expected) in table {
        assert_eq!(home.choice(&target, variables), expected, "{target:?} {variables:?}");
    }
}

#[test]
fn a_second_terminal_finds_what_up_runs() {
    let home = Home::new();
    home.of_up("api = \"http://127.0.0.1:8080\"\ntoken = \"pst_up\"");
    assert_eq!(home.choice(&Target::default(), &[]), pair("http://127.0.0.1:8080/", "pst_up"));
}

#[test]
fn a_token_is_not_sent_to_another_api_than_the_one_beside_it() {
    let home = Home::new();
    home.own("api = \"https://own\"\ntoken = \"pst_own\"");
    let target = Target { api: Some("https://other".into()), ..Target::default() };
    let failure = home.settle(&target, &[]).unwrap_err();
    assert!(matches!(failure, Failure::Unauthorised(_)));
    assert!(failure.to_string().contains("is for https://own/"), "{failure}");
    let same = Target { api: Some("https://own/".into()), ..Target::default() };
    assert_eq!(home.choice(&same, &[]), pair("https://own/", "pst_own"));
}

#[test]
fn without_settings_it_says_how_to_begin() {
    let failure = Home::new().settle(&Target::default(), &[]).unwrap_err();
    assert!(failure.to_string().contains("postern up"), "{failure}");
}

#[test]
fn a_named_file_must_be_there() {
    let home = Home::new();
    let missing = Some(home.dir.path().join("missing"));
    let config = Target { config: missing.clone(), ..Target::default() };
    assert!(matches!(home.settle(&config, &[]), Err(Failure::Usage(_))));
    let api = Some("https://a".to_owned());
    let token = Target { token_file: missing, api, ..Target::default() };
    assert!(matches!(home.settle(&token, &[]), Err(Failure::Usage(_))));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let home = Home::new();
    home.own("token = \"pst_own\"");
    std::fs::set_permissions(home.places.config_file(), Permissions::from_mode(0o644)).unwrap();
    let failure = home.settle(&Target::default(), &[]).unwrap_err();
    assert!(failure.to_string().contains("chmod 600"), "{failure}");
}

#[test]
fn a_mistake_in_a_file_is_named_without_the_token() {
    let home = Home::new();
    for text in ["api = \"https://a\"\ntokem = \"pst_secret\"", "token = pst_secret", "token = \"pst_secret"]
    {
        let failure = home.own(text).settle(&Target::default(), &[]).unwrap_err().to_string();
        assert!(failure.contains("line ") && !failure.contains("pst_secret"), "{failure}");
    }
}

#[test]
fn plain_http_stays_on_this_machine() {
    let home = Home::new();
    let refused = |api: &str, insecure_http| {
        let target = Target { api: Some(api.to_owned()), insecure_http, ..Target::default() };
        home.settle(&target, &[("POSTERN_TOKEN", "pst_x")]).is_err()
    };
    for api in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://192.0.2.1"] {
        assert!(!refused(api, false), "{api}");
    }
    for api in
        ["http://192.0.2.1", "http://localhost.example.com", "http://127.0.0.1.example.com", "http://[::2]"]
    {
        assert!(refused(api, false) && !refused(api, true), "{api}");
    }
    for api in ["", "box42", "ftp://a", "https://a?b", "https://user:pass@a", "file:///etc"] {
        assert!(refused(api, true), "{api}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let home = Home::new();
    let path = home.dir.path().join("client.toml");
    let file = SettingsFile {
        api: Some("http://127.0.0.1:8080".into()),
        token: Some(Secret::from_text("pst_x")),
        ..SettingsFile::default()
    };
    file.save(&path).unwrap();
    assert_eq!(SettingsFile::load(&path).unwrap(), Some(file));
}
