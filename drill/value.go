package drill

import (
	"fmt"
	"strings"
)

// valueKind says what an argument of a call is.
type valueKind uint8

const (
	numberValue valueKind = iota // a number, or a symbol that stands for one
	anyValue                     // ...
	textValue                    // "text"
	listValue                    // [a, b]
	structValue                  // {a, b}, {x=a, y=b}
	applyValue                   // htons(80), inet_addr("192.0.2.1")
	nameValue                    // a word that is no constant: a congestion control's name
)

// value is an argument, an expected result, or a part of one.
type value struct {
	kind   valueKind
	at     int // place in the script
	number int64
	text   string   // textValue, nameValue; applyValue: the function
	parts  []value  // listValue, structValue, applyValue
	keys   []string // structValue with names: of parts
	source string   // as the script has it
}

// field is the part with a name, or the i-th if parts have none.
func (v *value) field(name string, i int) (value, bool) {
	if len(v.keys) == 0 {
		if i < 0 || i >= len(v.parts) {
			return value{}, false
		}
		return v.parts[i], true
	}
	for k, key := range v.keys {
		if key == name {
			return v.parts[k], true
		}
	}
	return value{}, false
}

func (v value) String() string { return v.source }

// parseValue reads an argument: terms joined by | or * and the like are one number.
func (s *scanner) parseValue() value {
	s.space()
	begin := s.at
	v := s.parseTerm()
	for {
		end := s.at
		s.blanks()
		op := s.peek()
		if op != '|' && op != '&' && op != '*' && op != '+' && op != '-' {
			s.at = end
			break
		}
		s.at++
		r := s.parseTerm()
		if v.kind != numberValue || r.kind != numberValue {
			s.fail(r.at, "expected numbers beside %q", string(op))
		}
		switch op {
		case '|':
			v.number |= r.number
		case '&':
			v.number &= r.number
		case '*':
			v.number *= r.number
		case '+':
			v.number += r.number
		case '-':
			v.number -= r.number
		}
	}
	v.at, v.source = begin, strings.TrimSpace(s.src[begin:s.at])
	return v
}

func (s *scanner) parseTerm() value {
	s.space()
	v := value{at: s.at}
	s.depth++
	defer func() { s.depth-- }()
	if s.depth > 50 {
		s.fail(s.at, "nested too deeply")
	}
	switch c := s.peek(); {
	case s.accept("..."):
		v.kind = anyValue
	case c == '"':
		v.kind, v.text = textValue, s.quoted()
	case c == '[':
		s.at++
		v.kind = listValue
		v.parts = s.parseList("]", nil)
	case c == '{':
		s.at++
		v.kind = structValue
		v.parts = s.parseList("}", &v.keys)
		if len(v.keys) > 0 && len(v.keys) != len(v.parts) {
			s.fail(v.at, "either all fields have names or none")
		}
	case c == '(': // a cast or a number in brackets
		s.at++
		inner := s.parseValue()
		s.expect(")")
		return inner
	case c == '~':
		s.at++
		inner := s.parseTerm()
		inner.number = ^inner.number
		return inner
	case isDigit(c) || c == '-' || c == '+':
		v.number = s.integer("a number")
	default:
		s.parseSymbol(&v)
	}
	return v
}

// parseList reads values up to a closing bracket, with names if keys is not nil.
func (s *scanner) parseList(end string, keys *[]string) (parts []value) {
	for {
		if s.accept(end) {
			return parts
		}
		if keys != nil {
			if k, ok := s.acceptKey(); ok {
				*keys = append(*keys, k)
			}
		}
		parts = append(parts, s.parseValue())
		if s.accept(end) {
			return parts
		}
		if !s.accept(",") && !s.accept(";") {
			s.expected(fmt.Sprintf("%q or %q", ",", end))
		}
	}
}

// acceptKey reads "name =" or "name(3) =" if that follows.
func (s *scanner) acceptKey() (string, bool) {
	s.space()
	begin := s.at
	if s.peek() == '.' && !s.starts("...") {
		s.at++
	}
	name := s.word()
	s.at += len(name)
	s.space()
	if s.peek() == '(' { // msg_iov(2)=…: the number of elements
		s.at++
		s.until(func(c byte) bool { return c != ')' && c != '\n' })
		if s.peek() == ')' {
			s.at++
		}
		s.space()
	}
	if name == "" || s.peek() != '=' || s.starts("==") {
		s.at = begin
		return "", false
	}
	s.at++
	return name, true
}

// parseSymbol reads a word: a function of values, a constant, or a name.
func (s *scanner) parseSymbol(v *value) {
	w := s.takeWord("an argument")
	if s.peek() == '(' {
		s.at++
		v.kind, v.text = applyValue, w
		v.parts = s.parseList(")", nil)
		s.apply(v)
		return
	}
	if n, ok := symbols[w]; ok {
		v.number = n
		return
	}
	if n, ok := errnoNumbers[w]; ok {
		v.number = n
		return
	}
	v.kind, v.text = nameValue, w
}

// apply works out the functions that scripts use for ports; addresses stay as they are.
func (s *scanner) apply(v *value) {
	if len(v.parts) == 0 {
		s.fail(v.at, "expected an argument of %s", v.text)
	}
	switch v.text {
	case "htons", "htonl", "ntohs", "ntohl": // numbers of scripts are in the order of the reader
		if v.parts[0].kind == anyValue {
			*v = value{kind: anyValue, at: v.at}
			return
		}
		*v = value{kind: numberValue, number: v.parts[0].number, at: v.at}
	case "inet_addr":
		*v = value{kind: textValue, text: v.parts[0].text, at: v.at}
	case "inet_pton":
		*v = value{kind: textValue, text: v.parts[len(v.parts)-1].text, at: v.at}
	default:
		s.fail(v.at, "unknown function %s: expected htons, htonl, inet_addr or inet_pton", v.text)
	}
}
