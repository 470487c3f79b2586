package tcptest

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// line is one line of a script.
type line struct {
	number int
	text   string
	after  time.Duration // the line before
	verb   string
	args   []string
}

// parse splits a script into lines.
func parse(script string) ([]line, error) {
	var lines []line
	for i, text := range strings.Split(script, "\n") {
		text, _, _ = strings.Cut(text, "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		l := line{number: i + 1, text: strings.TrimSpace(text)}
		if fields[0][0] == '+' {
			var err error
			if l.after, err = seconds(fields[0][1:]); err != nil {
				return nil, l.errorf("%v", err)
			}
			fields = fields[1:]
		}
		if len(fields) == 0 {
			return nil, l.errorf("nothing after the time")
		}
		l.verb, l.args = fields[0], fields[1:]
		lines = append(lines, l)
	}
	return lines, nil
}

func (l *line) errorf(f string, args ...any) error {
	return fmt.Errorf("line %d: %s\n\t%s", l.number, l.text, fmt.Sprintf(f, args...))
}

func seconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s + "s")
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of seconds", s)
	}
	return d, nil
}

// segmentLine is one segment of a script: what is to be sent, or what is expected. A nil number is not named.
type segmentLine struct {
	flags     wire.TCPFlags
	seq       *number
	size      int
	ack       *number
	win       *number
	mss       *number
	wscale    *number
	urg       *number
	segs      int
	sackOK    bool
	ts        bool
	val, ecr  *number // of TS; nil is *
	sack      [][2]number
	forbidden []string // options
}

// number is relative to an initial sequence number, unless absolute is set.
type number struct {
	n        int64
	absolute bool
}

func (n number) seq(initial tcp.Seq) tcp.Seq {
	if n.absolute {
		return tcp.Seq(n.n)
	}
	return initial + tcp.Seq(n.n)
}

func parseNumber(s string) (*number, error) {
	digits, absolute := strings.CutPrefix(s, "=")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number", s)
	}
	return &number{n, absolute}, nil
}

// parseSegment reads what follows < or >.
func parseSegment(args []string) (*segmentLine, error) {
	if len(args) < 2 {
		return nil, fmt.Errorf("want FLAGS and BEGIN:END(BYTES)")
	}
	s := &segmentLine{}
	for _, c := range []byte(args[0]) {
		flag, ok := flagOf(c)
		if !ok {
			return nil, fmt.Errorf("%q is not a flag", c)
		}
		s.flags |= flag
	}
	if err := s.parseRange(args[1]); err != nil {
		return nil, err
	}
	for args = args[2:]; len(args) > 0; {
		used, err := s.parseWord(args)
		if err != nil {
			return nil, err
		}
		args = args[used:]
	}
	return s, nil
}

func flagOf(c byte) (wire.TCPFlags, bool) {
	for _, f := range flagLetters {
		if f.letter == c {
			return f.flag, true
		}
	}
	return 0, false
}

// parseRange reads BEGIN:END(BYTES).
func (s *segmentLine) parseRange(text string) (err error) {
	begin, rest, ok := strings.Cut(text, ":")
	end, size, ok2 := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
	if !ok || !ok2 {
		return fmt.Errorf("%q is not BEGIN:END(BYTES)", text)
	}
	if s.seq, err = parseNumber(begin); err != nil {
		return err
	}
	last, err := parseNumber(end)
	if err != nil {
		return err
	}
	if s.size, err = strconv.Atoi(size); err != nil || last.n-s.seq.n != int64(s.size) || s.size < 0 {
		return fmt.Errorf("%q: BYTES must be END-BEGIN", text)
	}
	return nil
}

// parseWord reads one item and returns how many words it has.
func (s *segmentLine) parseWord(args []string) (used int, err error) {
	numbers := map[string]**number{"ack": &s.ack, "win": &s.win, "mss": &s.mss, "wscale": &s.wscale, "urg": &s.urg}
	if to := numbers[args[0]]; to != nil {
		if len(args) < 2 {
			return 0, fmt.Errorf("%s without its number", args[0])
		}
		*to, err = parseNumber(args[1])
		return 2, err
	}
	switch word := args[0]; word {
	case "nop":
	case "sackOK":
		s.sackOK = true
	case "nomss", "nosackOK", "nowscale", "noTS", "nosack":
		s.forbidden = append(s.forbidden, word[2:])
	case "segs":
		if len(args) < 2 {
			return 0, fmt.Errorf("segs without its number")
		}
		s.segs, err = strconv.Atoi(args[1])
		return 2, err
	case "TS":
		return 3, s.parseTS(args[1:])
	case "sack":
		return s.parseSACK(args)
	default:
		return 0, fmt.Errorf("%q is not an item of a segment", word)
	}
	return 1, nil
}

func (s *segmentLine) parseTS(args []string) (err error) {
	if len(args) < 2 {
		return fmt.Errorf("TS without its two numbers")
	}
	s.ts = true
	for i, to := range []**number{&s.val, &s.ecr} {
		if args[i] == "*" {
			continue
		}
		if *to, err = parseNumber(args[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *segmentLine) parseSACK(args []string) (used int, err error) {
	for used = 1; used < len(args) && strings.Contains(args[used], ":"); used++ {
		l, r, _ := strings.Cut(args[used], ":")
		left, err := parseNumber(l)
		if err != nil {
			return 0, err
		}
		right, err := parseNumber(r)
		if err != nil {
			return 0, err
		}
		s.sack = append(s.sack, [2]number{*left, *right})
	}
	if used == 1 || used > 5 {
		return 0, fmt.Errorf("sack takes one to four BEGIN:END")
	}
	return used, nil
}

// errnoNamed is the error of a name in a script.
func errnoNamed(name string) (error, bool) {
	switch name {
	case "none":
		return nil, true
	case "ETIMEDOUT":
		return syscall.ETIMEDOUT, true
	case "ECONNRESET":
		return syscall.ECONNRESET, true
	case "ECONNREFUSED":
		return syscall.ECONNREFUSED, true
	case "ECONNABORTED":
		return syscall.ECONNABORTED, true
	case "EPIPE":
		return syscall.EPIPE, true
	case "EHOSTUNREACH":
		return syscall.EHOSTUNREACH, true
	case "ENETUNREACH":
		return syscall.ENETUNREACH, true
	}
	return nil, false
}
