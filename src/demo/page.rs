//! What `standin demo` prints: where things are, what the models do, and lines to paste. Pure.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::answers::PAINTER_QUESTION;

/// The demo's key for production.
pub const KEY: &str = "demo-key";

/// The demo's key for sandbox.
pub const SANDBOX_KEY: &str = "demo-sandbox-key";

/// Where the parts of a demo are.
#[derive(Clone, Debug)]
pub struct Site {
    /// The gateway's listener.
    pub gateway: SocketAddr,
    /// The admin listener, with the console.
    pub admin: SocketAddr,
    /// What opens the console.
    pub token: String,
    /// The configuration's file.
    pub file: PathBuf,
    /// The `OpenAI`-like provider.
    pub openai: SocketAddr,
    /// The Mistral-like provider.
    pub mistral: SocketAddr,
    /// Whether broken streams are rescued.
    pub rescue: bool,
}

/// The whole page.
pub fn page(site: &Site) -> String {
    let Site {
        gateway,
        admin,
        token,
        file,
        openai,
        mistral,
        ..
    } = site;
    let file = file.display();
    let mut page = format!(
        "Standin's demo: a gateway in front of two providers, all of it in this process.

  gateway     http://{gateway}   keys: {KEY} (production), {SANDBOX_KEY} (sandbox)
  console     http://{admin}/console
              token: {token}
  file        {file}
  providers   http://{openai} (like OpenAI), http://{mistral} (like Mistral)

Paste any of these. The lines that begin with x-standin in an answer's head tell its way.
"
    );
    for (number, line) in (1..).zip(lines(site)) {
        let Line { shows, curl } = line;
        // Writing to a String cannot fail.
        let _ = write!(page, "\n{number}. {shows}\n\n{curl}\n");
    }
    page.push_str(MODELS);
    page
}

const MODELS: &str = "
All models for these lines: what the provider does, and who answers then.

  gpt-healthy        answers                                  itself
  gpt-slow           answers after 10 s                       mistral-small-latest, after 1 s
  gpt-rate-limited   429, \"in 20 s\"                           mistral-small-latest, for 20 s
  gpt-broken         503                                      mistral-small-latest, for 5 s
  gpt-crashing       closes the connection                    gpt-healthy
  gpt-garbled        sends half of its JSON                   gpt-healthy
  gpt-silent         200, and then nothing                    mistral-small-latest, after 1 s
  gpt-breaks-midway  half of its answer, then a reset         mistral-small-latest (a stream: see 6)
  gpt-unknown        404, no such model                       mistral-large-latest
  everything-fails   each of its targets fails                nobody: one error that names them

Ctrl-C ends the demo.
";

/// A line to paste and what it is for.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is to be seen.
    pub shows: &'static str,
    /// The command, in as many lines as the shell continues.
    pub curl: String,
}

/// The lines to paste, in the order of the page: the original's try-out first.
pub fn lines(site: &Site) -> Vec<Line> {
    let chat = Chat {
        gateway: site.gateway,
        key: KEY,
        model: "",
        stream: false,
    };
    vec![
        Line {
            shows: "The try-out of the original: no provider has invalid-model, and
   mistral-small-latest answers. (Its answer to this question is a fixed text.)",
            curl: Chat {
                model: "invalid-model",
                ..chat
            }
            .curl(),
        },
        Line {
            shows: "The same with the sandbox key: that policy is for production only, and Mistral's own
   400 comes back.",
            curl: Chat {
                model: "invalid-model",
                key: SANDBOX_KEY,
                ..chat
            }
            .curl(),
        },
        Line {
            shows: "A model that takes 10 s; its policy waits for 1 s.",
            curl: Chat {
                model: "gpt-slow",
                ..chat
            }
            .curl(),
        },
        Line {
            shows: "A model that is down. Paste it twice: for 5 s it is left out, so the second
   answer says x-standin-attempts: 1.",
            curl: Chat {
                model: "gpt-broken",
                ..chat
            }
            .curl(),
        },
        Line {
            shows: "A stream that never gets to its first word, and is replaced before it shows.",
            curl: Chat {
                model: "gpt-silent",
                stream: true,
                ..chat
            }
            .curl(),
        },
        Line {
            shows: if site.rescue {
                "A stream that breaks half-way, and arrives whole: mistral-small-latest goes on
   where the other broke off. With `standin demo --no-rescue` you see the break."
            } else {
                "A stream that breaks half-way. Without rescue it ends with an error event and no
   [DONE]: never a short answer that looks whole."
            },
            curl: Chat {
                model: "gpt-breaks-midway",
                stream: true,
                ..chat
            }
            .curl(),
        },
        Line {
            shows: "A chain in which everything fails: one error that names every attempt.",
            curl: Chat {
                model: "everything-fails",
                ..chat
            }
            .curl(),
        },
    ]
}

/// A chat request as a command line.
#[derive(Clone, Copy)]
struct Chat {
    gateway: SocketAddr,
    key: &'static str,
    model: &'static str,
    stream: bool,
}

impl Chat {
    fn curl(self) -> String {
        let Self {
            gateway,
            key,
            model,
            stream,
        } = self;
        let (flags, stream) = if stream {
            ("-iN", "\"stream\": true, ")
        } else {
            ("-i", "")
        };
        format!(
            r#"curl {flags} http://{gateway}/v1/chat/completions \
  -H 'authorization: Bearer {key}' -H 'content-type: application/json' \
  -d '{{"model": "{model}", {stream}"messages": [{{"role": "user", "content": "{PAINTER_QUESTION}"}}]}}'"#
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::models::Flavour;
    use super::*;

    fn site(rescue: bool) -> Site {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Site {
            gateway: at(8080),
            admin: at(9090),
            token: format!("sk-standin-{:064}", 0),
            file: PathBuf::from("/tmp/standin-demo-1/standin.yaml"),
            openai: at(4001),
            mistral: at(4002),
            rescue,
        }
    }

    /// The words of a command, as a shell reads single quotes and continued lines.
    fn words(command: &str) -> Vec<String> {
        let joined = command.replace("\\\n", " ");
        let mut words = Vec::new();
        for (index, part) in joined.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                assert!(
                    !part.contains(['"', '\\', '\n', '$', '`']),
                    "unquoted: {part}"
                );
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_line_is_a_curl_command_with_a_valid_request() {
        for line in [lines(&site(true)), lines(&site(false))].concat() {
            let words = words(&line.curl);
            let [
                curl,
                flags,
                url,
                h1,
                authorization,
                h2,
                content_type,
                d,
                body,
            ] = &words[..]
            else {
                panic!("{words:?}");
            };
            assert_eq!([curl, h1, h2, d], ["curl", "-H", "-H", "-d"]);
            assert_eq!(url, "http://127.0.0.1:8080/v1/chat/completions");
            assert_eq!(content_type, "content-type: application/json");
            assert!(
                [KEY, SANDBOX_KEY]
                    .map(|key| format!("authorization: Bearer {key}"))
                    .contains(authorization)
            );
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["messages"][0]["content"], PAINTER_QUESTION);
            assert_eq!(body["stream"].as_bool(), (flags == "-iN").then_some(true));
        }
    }

    #[test]
    fn the_try_out_of_the_original_comes_first() {
        let first = words(&lines(&site(true))[0].curl);
        let body: Value = serde_json::from_str(first.last().unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "model": "invalid-model",
                "messages": [{
                    "role": "user",
                    "content": "Who is the most renowned French painter?",
                }],
            })
        );
    }

    #[test]
    fn the_page_has_every_address_every_line_and_every_chat_model() {
        let site = site(true);
        let page = page(&site);
        for address in [site.gateway, site.admin, site.openai, site.mistral] {
            assert!(page.contains(&format!("http://{address}")), "{address}");
        }
        assert!(page.contains(&site.token));
        assert!(page.contains("/tmp/standin-demo-1/standin.yaml"));
        for line in lines(&site) {
            assert!(page.contains(&line.curl));
        }
        for (model, _) in Flavour::OpenAi.models() {
            let is_chat_model = !model.starts_with("text-embedding");
            assert_eq!(
                page.contains(&format!("\n  {model} ")),
                is_chat_model,
                "{model}"
            );
        }
        let widest = page
            .lines()
            .filter(|line| !line.starts_with("  -d"))
            .map(str::len)
            .max();
        assert!(widest <= Some(100), "{widest:?}");
    }

    #[test]
    fn the_rescue_is_promised_only_where_there_is_one() {
        assert!(page(&site(true)).contains("arrives whole"));
        assert!(!page(&site(false)).contains("arrives whole"));
    }
}
