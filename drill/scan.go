package drill

import (
	"fmt"
	"strconv"
	"strings"
)

// position is a place in a script, both counted from 1.
type position struct{ line, col int }

// SyntaxError is what Parse answers: where the script is wrong, and what was expected there.
type SyntaxError struct {
	Name      string
	Line, Col int
	Msg       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Col, e.Msg)
}

// scanner goes through a script's bytes. Its methods panic with a *SyntaxError, which Parse recovers: a grammar reads better so.
type scanner struct {
	name  string
	src   string
	at    int
	depth int // of brackets
}

func (s *scanner) position(at int) position {
	before := s.src[:min(at, len(s.src))]
	return position{strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')}
}

// fail ends the parse with an error at a place in the script.
func (s *scanner) fail(at int, format string, args ...any) {
	p := s.position(at)
	panic(&SyntaxError{s.name, p.line, p.col, fmt.Sprintf(format, args...)})
}

// expected ends the parse: here should be something else.
func (s *scanner) expected(what string) { s.fail(s.at, "expected %s, found %s", what, s.found()) }

// found describes what stands here.
func (s *scanner) found() string {
	switch rest := s.src[s.at:]; {
	case rest == "":
		return "the end of the script"
	case rest[0] == '\n':
		return "the end of the line"
	default:
		end := strings.IndexAny(rest, " \t\r\n,()<>[]{}=`")
		if end <= 0 {
			end = 1
		}
		if end < 0 {
			end = len(rest)
		}
		return strconv.Quote(rest[:min(end, 30)])
	}
}

// eof reports whether nothing is left.
func (s *scanner) eof() bool { return s.at >= len(s.src) }

// peek is the byte here, 0 at the end.
func (s *scanner) peek() byte {
	if s.eof() {
		return 0
	}
	return s.src[s.at]
}

// blanks passes over blanks and comments, within a line (or across a block comment).
func (s *scanner) blanks() { s.skip(" \t\r") }

// space passes over blanks, ends of lines and comments.
func (s *scanner) space() { s.skip(" \t\r\n") }

func (s *scanner) skip(set string) {
	for !s.eof() {
		rest := s.src[s.at:]
		switch {
		case strings.IndexByte(set, rest[0]) >= 0:
			s.at++
		case rest[0] == '#', strings.HasPrefix(rest, "//"):
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				s.at += end
			} else {
				s.at = len(s.src)
			}
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				s.fail(s.at, "this comment has no end: expected */")
			}
			s.at += end + 4
		default:
			return
		}
	}
}

// starts reports whether the rest begins with a text.
func (s *scanner) starts(text string) bool { return strings.HasPrefix(s.src[s.at:], text) }

// accept passes over blanks and, if it follows, a text.
func (s *scanner) accept(text string) bool {
	s.space()
	if !s.starts(text) {
		return false
	}
	s.at += len(text)
	return true
}

// expect passes over a text that must follow.
func (s *scanner) expect(text string) {
	if !s.accept(text) {
		s.expected(strconv.Quote(text))
	}
}

// acceptWord passes over a word, if just that follows.
func (s *scanner) acceptWord(word string) bool {
	s.space()
	if s.word() != word {
		return false
	}
	s.at += len(word)
	return true
}

// word is the word that begins here, not passed over; "" if none does.
func (s *scanner) word() string {
	end := s.at
	for end < len(s.src) && isWordByte(s.src[end], end > s.at) {
		end++
	}
	return s.src[s.at:end]
}

func isWordByte(c byte, later bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || later && isDigit(c)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// takeWord passes over the word that must begin here.
func (s *scanner) takeWord(what string) string {
	s.space()
	w := s.word()
	if w == "" {
		s.expected(what)
	}
	s.at += len(w)
	return w
}

// until passes over bytes as long as fn takes them, and returns them.
func (s *scanner) until(fn func(c byte) bool) string {
	begin := s.at
	for !s.eof() && fn(s.src[s.at]) {
		s.at++
	}
	return s.src[begin:s.at]
}

// integer reads a whole number, decimal or hexadecimal, perhaps negative.
func (s *scanner) integer(what string) int64 {
	s.space()
	begin := s.at
	if s.peek() == '-' || s.peek() == '+' {
		s.at++
	}
	if s.starts("0x") || s.starts("0X") {
		s.at += 2
		s.until(isHex)
	} else {
		s.until(isDigit)
	}
	text := s.src[begin:s.at]
	n, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 0, 64)
	if err != nil {
		digits := strings.TrimLeft(text, "+-0")
		if v, err := strconv.ParseInt(digits, 10, 64); err == nil && !strings.ContainsAny(digits, "xX") {
			return v // 007
		}
		s.at = begin
		s.expected(what)
	}
	return n
}

func isHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// within reads a whole number in a range.
func (s *scanner) within(what string, least, most int64) int64 {
	s.space()
	begin := s.at
	n := s.integer(what)
	if n < least || n > most {
		s.fail(begin, "%d is out of range: %s is %d to %d", n, what, least, most)
	}
	return n
}

// quoted reads a string in double quotes with Go's escapes.
func (s *scanner) quoted() string {
	begin := s.at
	s.at++
	for !s.eof() && s.peek() != '"' && s.peek() != '\n' {
		if s.peek() == '\\' {
			s.at++
		}
		s.at++
	}
	if s.eof() || s.peek() != '"' {
		s.fail(begin, "this string has no end: expected \"")
	}
	s.at++
	v, err := strconv.Unquote(s.src[begin:s.at])
	if err != nil {
		s.fail(begin, "a string with a wrong escape")
	}
	return v
}

// endOfLine sees that nothing but blanks and a comment is left of the line.
func (s *scanner) endOfLine() {
	s.blanks()
	if !s.eof() && s.peek() != '\n' {
		s.expected("the end of the line")
	}
}
