package drill

import (
	"fmt"
	"strings"
)

// shell does what a command line of the script would. There is no shell: what is not one of a few commands is refused.
func (r *runner) shell(e *shellEvent) error {
	for _, command := range splitCommands(e.command) {
		words := splitWords(command)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := r.command(command, words); err != nil {
			return err
		}
	}
	return nil
}

// splitCommands splits at ends of lines, ; and &&, but not inside quotes.
func splitCommands(text string) (all []string) {
	var quote byte
	begin := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '\n' || c == ';' || c == '&' && strings.HasPrefix(text[i:], "&&"):
			all = append(all, strings.TrimSpace(text[begin:i]))
			if c == '&' {
				i++
			}
			begin = i + 1
		}
	}
	return append(all, strings.TrimSpace(text[begin:]))
}

// splitWords splits a command at blanks outside of quotes, which are taken off.
func splitWords(text string) (words []string) {
	var quote byte
	word, in := "", false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word += string(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\\':
			if in {
				words = append(words, word)
			}
			word, in = "", false
		default:
			word += string(c)
			in = true
		}
	}
	if in {
		words = append(words, word)
	}
	return words
}

// command does one command.
func (r *runner) command(text string, words []string) error {
	switch name := words[0]; {
	case name == "sysctl":
		return r.sysctlCommand(words[1:])
	case name == "echo":
		return r.echoCommand(words[1:])
	case strings.HasSuffix(name, "set_sysctls.py"):
		return r.sysctlCommand(words[1:])
	case name == "ip":
		return r.ipCommand(text, words[1:])
	case name == "true" || name == ":":
		return nil
	}
	return fmt.Errorf("drill runs no shell: it does not know the command %q (it knows sysctl, echo VALUE > /proc/sys/net/…, ip route, ip tcp_metrics)",
		words[0])
}

// sysctlCommand is sysctl -q -w name=value …, or name="a b c", or name = value.
func (r *runner) sysctlCommand(words []string) error {
	text := ""
	for _, w := range words {
		if strings.HasPrefix(w, "-") && !strings.ContainsAny(w, "=0123456789") {
			continue
		}
		if name, value, ok := strings.Cut(w, "="); ok && name != "" && text == "" {
			if value == "" {
				text = w
				continue
			}
			if err := r.setSysctl(name, value); err != nil {
				return err
			}
			continue
		}
		text += w
		if name, value, ok := strings.Cut(text, "="); ok && value != "" {
			text = ""
			if err := r.setSysctl(name, value); err != nil {
				return err
			}
		}
	}
	if text != "" {
		return fmt.Errorf("sysctl %s: expected name=value", text)
	}
	return nil
}

// echoCommand is echo VALUE > /proc/sys/net/ipv4/NAME.
func (r *runner) echoCommand(words []string) error {
	text := strings.Join(words, " ")
	value, path, ok := strings.Cut(text, ">")
	if path = strings.TrimSpace(path); !ok || !strings.HasPrefix(path, "/proc/sys/net/") {
		return fmt.Errorf("echo: expected echo VALUE > /proc/sys/net/…")
	}
	value = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(value), "-n "))
	return r.setSysctl(path, value)
}

func (r *runner) setSysctl(name, value string) error {
	if r.host != nil {
		return fmt.Errorf("sysctl %s: the host is made at the first call or packet, its settings come before", name)
	}
	return r.config.setSysctl(name, value)
}

// ipCommand is ip tcp_metrics flush (there are none) and ip route … with metrics that the host knows.
func (r *runner) ipCommand(text string, words []string) error {
	switch {
	case len(words) > 0 && words[0] == "tcp_metrics":
		return nil
	case len(words) > 1 && (words[0] == "route" || words[0] == "r"):
		return r.routeCommand(text, words[1:])
	}
	return fmt.Errorf("drill does not know the command %q (of ip, it knows route and tcp_metrics)", text)
}

// routeCommand takes the metrics of ip route add|change|replace DEST dev tun0 … METRIC N …; the routes are the host's own.
func (r *runner) routeCommand(text string, words []string) error {
	for i := 0; i < len(words); i++ {
		switch w := words[i]; w {
		case "add", "change", "replace", "append", "flush", "cache", "lock":
		case "default", "proto", "kernel", "scope", "link", "static", "global":
		case "dev", "via", "src", "metric", "table":
			i++
		default:
			if strings.ContainsAny(w, ".:/") || i == 1 {
				continue // the destination
			}
			if i++; i >= len(words) {
				return fmt.Errorf("%q: expected a value of %s", text, w)
			}
			if r.host != nil {
				return fmt.Errorf("ip route: the host is made at the first call or packet, its settings come before")
			}
			if err := r.config.setSysctl("route."+w, words[i]); err != nil {
				return fmt.Errorf("ip route: drill does not know the metric %s", w)
			}
		}
	}
	return nil
}
