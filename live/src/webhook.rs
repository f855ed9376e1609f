//! Posting a message to whoever wants it, signed after the Standard Webhooks specification, <https://www.standardwebhooks.com>.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, fmt::rfc2822};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use stockscan_configuration as configuration;
use ureq::Agent;
use uuid::Uuid;

/// A receiver has so long to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a secret looks like.
const SECRET: &str = "expected whsec_ and 24 to 64 bytes in base64, as in: echo whsec_$(openssl rand -base64 32)";

/// A name for a message.
#[must_use]
pub fn new_id() -> String {
    format!("msg_{}", Uuid::new_v4().simple())
}

/// An address, and the secret with which messages to it are signed.
#[derive(Clone)]
pub struct Receiver {
    url: String,
    secret: Option<Arc<Webhook>>,
    agent: Agent,
}

impl std::fmt::Debug for Receiver {
    /// Without address and secret: neither is to stand in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("host", &self.host()).field("is_signed", &self.is_signed()).finish_non_exhaustive()
    }
}

/// How one attempt to deliver a message ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status that the receiver answered with, if it did.
    pub status: Option<u16>,
    /// Why that is no success; `None`: it is one.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// What to do next.
    pub verdict: Verdict,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived.
    Delivered,
    /// It may arrive another time; not before so long, if the receiver said so.
    Later(Option<Duration>),
    /// It never will.
    Refused,
}

impl Receiver {
    /// Reads the secret that the configuration names.
    ///
    /// # Errors
    /// A text about a secret that is not there, or is none.
    pub fn new(webhook: &configuration::Webhook) -> Result<Receiver, String> {
        let secret = match (&webhook.secret_file, &webhook.secret_env) {
            (Some(_), Some(_)) => return Err("has secret_file and secret_env; expected one of them".to_owned()),
            (Some(file), None) => {
                let path = file.0.display();
                let text = fs::read_to_string(&file.0).map_err(|error| format!("secret_file {path}: {error}; {SECRET}"))?;
                Some(signer(text.trim()).ok_or_else(|| format!("secret_file {path} holds no secret; {SECRET}"))?)
            }
            (None, Some(name)) => {
                let text = std::env::var(&name.0).map_err(|_| format!("secret_env {}: there is no such variable; {SECRET}", name.0))?;
                Some(signer(text.trim()).ok_or_else(|| format!("secret_env {} holds no secret; {SECRET}", name.0))?)
            }
            (None, None) => None,
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // What is signed for one address is for no other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("stockscan/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Receiver { url: webhook.url.0.clone(), secret: secret.map(Arc::new), agent })
    }

    /// The address without path and query, which with some services are as good as a password.
    #[must_use]
    pub fn host(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        format!("{scheme}://{}", rest.split(['/', '?', '#']).next().unwrap_or_default())
    }

    /// Whether messages are signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.secret.is_some()
    }

    /// Posts a message. `id` is the same at every attempt.
    #[must_use]
    pub fn post(&self, id: &str, body: &str) -> Answer {
        let started = Instant::now();
        let moment = Timestamp::now().as_second();
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, moment.to_string());
        if let Some(secret) = &self.secret {
            match secret.sign(id, moment, body.as_bytes()) {
                Ok(signature) => request = request.header(HEADER_WEBHOOK_SIGNATURE, signature),
                Err(error) => return answer(started, None, Some(error.to_string()), Verdict::Refused),
            }
        }
        match request.send(body) {
            Ok(response) => {
                let status = response.status().as_u16();
                let wait = response.headers().get("retry-after").and_then(|value| retry_after(value.to_str().ok()?, Timestamp::now()));
                let verdict = verdict(status, wait);
                let error = match verdict {
                    Verdict::Delivered => None,
                    _ if (300..400).contains(&status) => Some(format!("status {status}: redirects are not followed")),
                    _ => Some(format!("status {status}")),
                };
                answer(started, Some(status), error, verdict)
            }
            Err(error) => {
                // These name the address; nothing is gained by trying them again.
                let (text, verdict) = match error {
                    ureq::Error::BadUri(_) | ureq::Error::Http(_) => ("the address cannot be used".to_owned(), Verdict::Refused),
                    other => (other.to_string(), Verdict::Later(None)),
                };
                answer(started, None, Some(text), verdict)
            }
        }
    }
}

fn answer(started: Instant, status: Option<u16>, error: Option<String>, verdict: Verdict) -> Answer {
    Answer { status, error, duration: started.elapsed(), verdict }
}

/// A secret as the specification wants it.
fn signer(secret: &str) -> Option<Webhook> {
    let encoded = secret.strip_prefix("whsec_")?;
    let bytes = encoded.trim_end_matches('=').len() * 3 / 4;
    Webhook::new(secret).ok().filter(|_| (24..=64).contains(&bytes))
}

fn verdict(status: u16, wait: Option<Duration>) -> Verdict {
    match status {
        200..300 => Verdict::Delivered,
        408 | 429 | 500.. => Verdict::Later(wait),
        _ => Verdict::Refused,
    }
}

/// Seconds, or a date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(moment.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // By Python: base64.b64encode(hmac.digest(base64.b64decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'),
        // b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}', 'sha256'))
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("24 bytes");
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature.ok().as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn secrets_that_are_none_are_refused() {
        for bad in
            ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64 not base64 not base64 not"]
        {
            assert!(signer(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let wait = Some(Duration::from_secs(7));
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status, wait), Verdict::Later(wait), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 422] {
            assert_eq!(verdict(status, wait), Verdict::Refused, "{status}");
        }
        for status in [200, 201, 202, 204] {
            assert_eq!(verdict(status, None), Verdict::Delivered, "{status}");
        }
    }

    #[test]
    fn receivers_say_when_in_seconds_or_by_date() {
        let now = "2015-10-21T07:27:00Z".parse().expect("a moment");
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        // The date of RFC 9110's example.
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:26:00 GMT", now), Some(Duration::ZERO), "a date that is past");
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn addresses_are_not_told() {
        let webhook = configuration::Webhook {
            url: configuration::Text("https://hooks.example.com/services/T000/B000/secret?key=secret".to_owned()),
            ..configuration::Webhook::default()
        };
        let receiver = Receiver::new(&webhook).expect("no secret is needed");
        assert_eq!(receiver.host(), "https://hooks.example.com");
        assert!(!format!("{receiver:?}").contains("secret?"), "{receiver:?}");
    }
}
