//! The title of the process, made from `proc-title-template`.

/// What a title can name, in the template's words.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The program's path as it was called.
    pub title: String,
    /// Address of the first listener, or the unix socket.
    pub listen_addr: String,
    /// ` [cluster]`, ` [sentinel]` or nothing.
    pub server_mode: String,
    pub port: u16,
    pub tls_port: u16,
    pub unixsocket: String,
    pub config_file: String,
}

impl Facts {
    /// A program and its configuration file, if there is one.
    pub fn of(title: String, config_file: &str) -> Facts {
        let config_file = if config_file.is_empty() { "-" } else { config_file };
        Facts { title, config_file: config_file.to_string(), ..Facts::default() }
    }

    /// The same program with what `settings` say.
    pub fn with(&self, settings: &super::Settings) -> Facts {
        let socket = settings.unixsocket.as_ref().map(|path| path.display().to_string());
        let socket = socket.unwrap_or_default();
        let address = settings.bind.first().map_or("*", String::as_str);
        let (port, tls_port) = (settings.port, settings.tls.port);
        Facts {
            listen_addr: match (port, tls_port) {
                (0, 0) => format!("unixsocket:{socket}"),
                (0, port) | (port, _) => format!("{address}:{port}"),
            },
            port,
            tls_port,
            unixsocket: socket,
            ..self.clone()
        }
    }
}

/// `template` with its `{variables}` replaced; `None` where it names an unknown one or where a
/// brace is not closed.
pub fn expand(template: &str, facts: &Facts) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (variable, after) = after.split_once('}')?;
        match variable {
            "title" => out.push_str(&facts.title),
            "listen-addr" => out.push_str(&facts.listen_addr),
            "server-mode" => out.push_str(&facts.server_mode),
            "port" => out.push_str(&facts.port.to_string()),
            "tls-port" => out.push_str(&facts.tls_port.to_string()),
            "unixsocket" => out.push_str(&facts.unixsocket),
            "config-file" => out.push_str(&facts.config_file),
            _ => return None,
        }
        rest = after;
    }
    out.push_str(rest);
    out.truncate(out.trim_end().len());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_unknown_ones_refused() {
        let facts = Facts {
            title: "redouble".into(),
            listen_addr: "*:6379".into(),
            port: 6379,
            ..Facts::default()
        };
        let expand = |template| expand(template, &facts);
        assert_eq!(expand("{title} {listen-addr} {server-mode}").unwrap(), "redouble *:6379");
        assert_eq!(expand("x{port}y").unwrap(), "x6379y");
        assert_eq!(expand("{foo}"), None);
        assert_eq!(expand("{port"), None);
    }
}
