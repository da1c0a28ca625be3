//! The settings in the environment variables.

use std::net::{Ipv4Addr, Ipv6Addr};

use esp32_parts::PrefixTooLong;
use umqtt::codec::TopicName;

use crate::Features;

/// Maximum length of a host name in bytes (RFC 1035).
const LONGEST_CERTIFIED_NAME: usize = 253;

/// The settings of the program, read from the environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    features: Features,
    ssid: String,
    wifi_password: String,
    host: String,
    port: Option<u32>,
    user: Option<String>,
    password: Option<String>,
    prefix: Option<String>,
    tls_name: String,
    sleep_seconds: u32,
    led_pin: Option<u32>,
    led_lit_by: &'static str,
}

/// The environment, and the errors found in it.
struct Environment<'e> {
    value: &'e dyn Fn(&str) -> Option<String>,
    errors: Vec<String>,
}

impl Environment<'_> {
    /// Returns the value of a variable. An empty one counts as unset.
    fn text(&self, name: &str) -> Option<String> {
        (self.value)(name).filter(|value| !value.is_empty())
    }

    fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let number = self.text(name)?.parse().ok();
        let number = number.filter(|number| (min..=max).contains(number));
        self.require(
            number.is_some(),
            format!("{name} must be a number from {min} to {max}"),
        );
        number
    }

    /// Records this error unless `is_valid`.
    fn require(&mut self, is_valid: bool, error: impl Into<String>) {
        if !is_valid {
            self.errors.push(error.into());
        }
    }
}

impl Settings {
    /// Reads and checks the variables that the README lists.
    ///
    /// # Errors
    ///
    /// One text for each invalid variable. A missing one is not an error: see [`Self::missing`].
    pub fn read(
        features: Features,
        value: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let errors = Vec::new();
        let mut env = Environment { value, errors };
        let host = env.text("MQTT_HOST").unwrap_or_default();
        let led_lit_by = match env.text("LED_LIT_BY").as_deref() {
            None | Some("high") => "high",
            Some("low") => "low",
            Some("rgb") => "rgb",
            Some(_) => {
                env.require(false, "LED_LIT_BY must be high, low or rgb");
                "high"
            }
        };
        let settings = Self {
            features,
            ssid: env.text("WIFI_SSID").unwrap_or_default(),
            wifi_password: env.text("WIFI_PASSWORD").unwrap_or_default(),
            port: env.number("MQTT_PORT", 1, 65_535),
            user: env.text("MQTT_USER"),
            password: env.text("MQTT_PASSWORD"),
            prefix: env.text("TOPIC_PREFIX"),
            tls_name: env.text("TLS_NAME").unwrap_or_else(|| host.clone()),
            sleep_seconds: env.number("SLEEP_SECONDS", 1, 86_400).unwrap_or(60),
            led_pin: env.number("LED_PIN", 0, 48),
            led_lit_by,
            host,
        };
        settings.check(&mut env);
        if env.errors.is_empty() {
            Ok(settings)
        } else {
            Err(env.errors)
        }
    }

    fn check(&self, env: &mut Environment<'_>) {
        env.require(
            self.ssid.len() <= 32,
            "WIFI_SSID must have at most 32 bytes, as all names of networks",
        );
        env.require(
            self.wifi_password.is_empty() || (8..=64).contains(&self.wifi_password.len()),
            "WIFI_PASSWORD must have 8 to 64 bytes, or be empty for an open network",
        );
        env.require(
            self.password.is_none() || self.user.is_some(),
            "MQTT_PASSWORD needs MQTT_USER, which is not set",
        );
        self.check_host(env);
        if let Some(problem) = self.led_pin.and_then(|pin| self.features.wrong_pin(pin)) {
            env.require(
                false,
                format!("LED_PIN: the {} {problem}", self.features.chip),
            );
        }
        if let Some(prefix) = &self.prefix {
            env.require(
                TopicName::new(prefix).is_ok(),
                "TOPIC_PREFIX may contain neither + nor #",
            );
            let max = PrefixTooLong::MAX;
            env.require(
                prefix.len() <= max,
                format!("TOPIC_PREFIX is longer than {max} bytes"),
            );
        }
    }

    fn check_host(&self, env: &mut Environment<'_>) {
        env.require(
            self.host.parse::<Ipv6Addr>().is_err(),
            "MQTT_HOST must be a name or an IPv4 address; the example has no IPv6",
        );
        env.require(
            !self.host.contains([':', '/', ' ']) || self.host.parse::<Ipv6Addr>().is_ok(),
            "MQTT_HOST must be only a name or an address: without mqtt://, and with the port in MQTT_PORT",
        );
        if self.features.tls {
            let name = &self.tls_name;
            env.require(
                name.parse::<Ipv4Addr>().is_err() && name.len() <= LONGEST_CERTIFIED_NAME,
                format!(
                    "TLS_NAME (MQTT_HOST if unset) must be the name in the broker's certificate: at most {LONGEST_CERTIFIED_NAME} \
                     bytes, and not an address"
                ),
            );
        }
    }

    /// Returns the required variables that are not set.
    pub fn missing(&self) -> Vec<&'static str> {
        let needed = [("WIFI_SSID", &self.ssid), ("MQTT_HOST", &self.host)];
        let missing = needed.into_iter().filter(|(_, value)| value.is_empty());
        missing.map(|(name, _)| name).collect()
    }

    /// Returns the settings as source code of a module of the program.
    pub fn to_rust(&self) -> String {
        let text = |name, value: &str| format!("const {name}: &str = {value:?};");
        let option =
            |name, value: &Option<String>| format!("const {name}: Option<&str> = {value:?};");
        let missing = self.missing();
        let missing = (!missing.is_empty()).then(|| {
            format!(
                "Not configured: set {}, and build again",
                missing.join(" and ")
            )
        });
        let mut lines = vec![
            option("MISSING", &missing),
            text("WIFI_SSID", &self.ssid),
            text("WIFI_PASSWORD", &self.wifi_password),
            text("MQTT_HOST", &self.host),
            format!("const MQTT_PORT: Option<u16> = {:?};", self.port),
            option("MQTT_USER", &self.user),
            option("MQTT_PASSWORD", &self.password),
            option("TOPIC_PREFIX", &self.prefix),
            text("LED_LIT_BY", self.led_lit_by),
            format!("const SLEEP_SECONDS: u64 = {};", self.sleep_seconds),
        ];
        if self.features.tls {
            lines.push(text("TLS_NAME", &self.tls_name));
        }
        let lines: String = lines
            .iter()
            .map(|line| format!("/// See the README.\npub {line}\n"))
            .collect();
        lines + &self.led_macro()
    }

    /// Returns a macro for the pin of the LED, because each pin is a field with its own type.
    fn led_macro(&self) -> String {
        let pin = match self.led_pin {
            None => "{ let _ = $pins; None }".to_owned(),
            Some(pin) => format!("Some($pins.GPIO{pin}.into())"),
        };
        format!("macro_rules! led_pin {{ ($pins:expr) => {{ {pin} }} }}\npub(crate) use led_pin;\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Features = Features {
        chip: "esp32c3",
        tls: false,
    };
    const TLS: Features = Features { tls: true, ..PLAIN };

    fn read(features: Features, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        Settings::read(features, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn no_variable_set_program_reports_missing_ones() {
        let settings = read(PLAIN, &[]).unwrap();
        assert_eq!(settings.missing(), ["WIFI_SSID", "MQTT_HOST"]);
        let program = settings.to_rust();
        assert!(
            program.contains("set WIFI_SSID and MQTT_HOST,"),
            "{program}"
        );
        let empty = [("WIFI_SSID", ""), ("MQTT_HOST", ""), ("MQTT_PORT", "")];
        assert_eq!(read(PLAIN, &empty), Ok(settings));
    }

    #[test]
    fn one_variable_missing_is_the_only_one_named() {
        let settings = read(PLAIN, &[("WIFI_SSID", "home")]).unwrap();
        assert_eq!(settings.missing(), ["MQTT_HOST"]);
        assert!(settings.to_rust().contains("set MQTT_HOST, and build"));
    }

    #[test]
    fn all_variables_set_are_in_program() {
        let variables = [
            ("WIFI_SSID", "a \"network\""),
            ("WIFI_PASSWORD", "passwort \\ ü"),
            ("MQTT_HOST", "10.0.0.2"),
            ("MQTT_USER", "someone"),
            ("TOPIC_PREFIX", "house/1"),
            ("TLS_NAME", "broker.example"),
            ("SLEEP_SECONDS", "5"),
            ("LED_PIN", "8"),
            ("LED_LIT_BY", "low"),
        ];
        let settings = read(TLS, &variables).unwrap();
        assert!(settings.missing().is_empty());
        let program = settings.to_rust();
        for line in [
            r#"WIFI_SSID: &str = "a \"network\"";"#,
            r#"WIFI_PASSWORD: &str = "passwort \\ ü";"#,
            r#"MQTT_HOST: &str = "10.0.0.2";"#,
            "MQTT_PORT: Option<u16> = None;",
            r#"MQTT_USER: Option<&str> = Some("someone");"#,
            "MQTT_PASSWORD: Option<&str> = None;",
            "MISSING: Option<&str> = None;",
            r#"TOPIC_PREFIX: Option<&str> = Some("house/1");"#,
            r#"TLS_NAME: &str = "broker.example";"#,
            "SLEEP_SECONDS: u64 = 5;",
            r#"LED_LIT_BY: &str = "low";"#,
            "Some($pins.GPIO8.into())",
        ] {
            assert!(program.contains(line), "{line} is not in\n{program}");
        }
    }

    #[test]
    fn invalid_value_error_names_variable_and_no_value() {
        let long = "x".repeat(260);
        for (features, name, value) in [
            (PLAIN, "WIFI_SSID", &long[..33]),
            (PLAIN, "WIFI_PASSWORD", "secret!"),
            (PLAIN, "WIFI_PASSWORD", &long[..65]),
            (PLAIN, "MQTT_HOST", "mqtt://broker"),
            (PLAIN, "MQTT_HOST", "broker:1884"),
            (PLAIN, "MQTT_HOST", "fe80::1"),
            (PLAIN, "MQTT_PORT", "0"),
            (PLAIN, "MQTT_PORT", "65536"),
            (PLAIN, "MQTT_PORT", "eighteen"),
            (PLAIN, "MQTT_PASSWORD", "secret!"),
            (PLAIN, "TOPIC_PREFIX", "house/#"),
            (PLAIN, "TOPIC_PREFIX", &long),
            (PLAIN, "SLEEP_SECONDS", "a day"),
            (PLAIN, "LED_PIN", "49"),
            (PLAIN, "LED_PIN", "25"),
            (PLAIN, "LED_PIN", "12"),
            (PLAIN, "LED_LIT_BY", "light"),
            (TLS, "MQTT_HOST", "10.0.0.2"),
            (TLS, "TLS_NAME", "10.0.0.2"),
            (TLS, "TLS_NAME", &long[..254]),
        ] {
            let errors = read(features, &[(name, value)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{name}={value}: {errors:?}");
            assert!(errors[0].contains(name), "{name}={value}: {errors:?}");
            assert!(!errors[0].contains(value), "{name}={value}: {errors:?}");
        }
    }
}
