package drill

import (
	"math"
	"strings"
	"time"
)

// Parse reads a script. Name is what errors call it. The error is a *SyntaxError.
func Parse(name string, src []byte) (script *Script, err error) {
	s := &scanner{name: name, src: string(src)}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*SyntaxError)
			if !ok {
				panic(r)
			}
			script, err = nil, e
		}
	}()
	script = &Script{name: name, set: defaultSettings()}
	s.parseOptions(&script.set)
	s.parseHead(script)
	for s.space(); !s.eof(); s.space() {
		script.events = append(script.events, s.parseEvent())
	}
	return script, nil
}

// parseOptions reads the option lines: --name=value, or --name.
func (s *scanner) parseOptions(set *settings) {
	for s.space(); s.starts("--"); s.space() {
		begin := s.at
		s.at += 2
		name := s.takeWord("the name of an option")
		value := ""
		if s.peek() == '=' {
			s.at++
			value = strings.TrimSpace(s.until(func(c byte) bool { return c != '\n' && c != '#' && c != ' ' && c != '\t' && c != '\r' }))
		}
		if err := set.option(name, value); err != nil {
			s.fail(begin, "%v", err)
		}
		s.endOfLine()
	}
	if err := set.complete(); err != nil {
		s.fail(s.at, "%v", err)
	}
}

// parseHead reads command lines before the first event: they configure the host before there is one.
func (s *scanner) parseHead(script *Script) {
	for s.space(); s.peek() == '`'; s.space() {
		pos := s.position(s.at)
		script.head = append(script.head, &shellEvent{pos, s.parseShell()})
	}
}

func (s *scanner) parseShell() string {
	begin := s.at
	s.at++
	text := s.until(func(c byte) bool { return c != '`' })
	if s.eof() {
		s.fail(begin, "this command has no end: expected `")
	}
	s.at++
	return text
}

// parseEvent reads a time and what happens then.
func (s *scanner) parseEvent() *event {
	begin := s.at
	e := &event{pos: s.position(begin), when: s.parseWhen()}
	s.space()
	kind := s.at
	switch c := s.peek(); {
	case c == '<' || c == '>':
		s.at++
		e.what = s.parsePacket(c == '<')
	case c == '`':
		e.what = &shellEvent{s.position(s.at), s.parseShell()}
	case s.starts("%{"):
		e.what = s.parseCode()
	case s.word() != "":
		e.what = s.parseCall()
	default:
		s.expected("a packet (< or >), a call, a command in ` or assertions in %{ }%")
	}
	e.text = strings.TrimSpace(s.src[begin:s.at])
	s.checkWhen(e, kind)
	return e
}

// checkWhen refuses times that the kind of event cannot have.
func (s *scanner) checkWhen(e *event, at int) {
	p, packet := e.what.(*packetEvent)
	_, call := e.what.(*callEvent)
	switch {
	case e.when.blocking && !call:
		s.fail(at, "a time with ... is for calls that wait: expected a call")
	case e.when.anchor == anytime && (!packet || p.in):
		s.fail(at, "the time * is for expected packets: expected >")
	case e.when.begin != e.when.end && !e.when.blocking && (!packet || p.in):
		s.fail(at, "a range of times is for expected packets: expected >")
	}
}

// parseWhen reads: *  0.5  +.1  +0~+.2  0.1~0.2  0...0.2  +0...+0.2.
func (s *scanner) parseWhen() when {
	if s.accept("*") {
		return when{anchor: anytime}
	}
	w := when{anchor: absolute}
	if s.accept("+") {
		w.anchor = relative
	}
	w.begin = s.seconds()
	w.end = w.begin
	at := s.at
	switch {
	case s.starts("~"):
		s.at++
	case s.starts("..."):
		s.at += 3
		w.blocking = true
	default:
		return w
	}
	if s.accept("+") && w.anchor == absolute {
		s.fail(at, "expected a range of two absolute or of two relative times")
	}
	w.end = s.seconds()
	if w.end < w.begin {
		s.fail(at, "the range ends before it begins")
	}
	return w
}

// maxSeconds is more than any script needs, and far from what a Duration cannot hold.
const maxSeconds = 10_000_000

// seconds reads a time in seconds. It takes digits and one point, but not the three points of a range.
func (s *scanner) seconds() time.Duration {
	s.space()
	begin := s.at
	whole := s.until(isDigit)
	frac := ""
	if s.peek() == '.' && !s.starts("..") {
		s.at++
		frac = s.until(isDigit)
	} else if s.peek() == '.' && whole == "" {
		s.expected("a time")
	}
	if whole == "" && frac == "" {
		s.at = begin
		s.expected("a time (0.5, +.1, *, +0~+.2, 0...0.2)")
	}
	if len(whole) > 8 || len(frac) > 9 {
		s.fail(begin, "a time has at most 8 digits before the point and 9 behind it")
	}
	var d int64
	for _, c := range whole {
		d = d*10 + int64(c-'0')
	}
	if d > maxSeconds {
		s.fail(begin, "a time is at most %d s", maxSeconds)
	}
	d *= int64(time.Second)
	unit := int64(time.Second)
	for _, c := range frac {
		unit /= 10
		d += int64(c-'0') * unit
	}
	return time.Duration(d)
}

// parseCall reads name(arguments) = result [ERRNO [(text)]].
func (s *scanner) parseCall() *callEvent {
	at := s.at
	c := &callEvent{name: s.takeWord("the name of a call")}
	if _, ok := calls[c.name]; !ok {
		s.fail(at, "unknown call %s: expected one of %s", c.name, callNames())
	}
	s.expect("(")
	c.args = s.parseList(")", nil)
	s.expect("=")
	c.result = s.parseValue()
	s.blanks()
	if w := s.word(); w != "" {
		if _, ok := errnos[w]; !ok {
			s.fail(s.at, "unknown error %s: expected the name of an errno", w)
		}
		s.at += len(w)
		c.errno = w
		s.blanks()
	}
	if s.peek() == '(' { // the text of the errno, as strace prints it
		s.until(func(c byte) bool { return c != ')' && c != '\n' })
		if s.peek() != ')' {
			s.expected("\")\"")
		}
		s.at++
	}
	if spec := calls[c.name]; len(c.args) < spec.least || len(c.args) > spec.most {
		s.fail(at, "%s has %d arguments, expected %s", c.name, len(c.args), spec.arity())
	}
	s.endOfLine()
	return c
}

const maxUint32 = math.MaxUint32
