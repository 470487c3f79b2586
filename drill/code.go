package drill

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/tcp"
)

// statement is one of a block: assert, print, or name = expression.
type statement struct {
	at     int
	source string
	run    func(*scope) error
}

// operand is a value of an expression: a number (comparisons give 1 or 0) or a text.
type operand struct {
	n      int64
	text   string
	isText bool
}

func number(n int64) operand { return operand{n: n} }

func (o operand) truth() bool { return o.n != 0 || o.isText && o.text != "" }

func (o operand) String() string {
	if o.isText {
		return o.text
	}
	return fmt.Sprint(o.n)
}

// scope is what names stand for while a block runs.
type scope struct {
	r    *runner
	vars map[string]operand
	seen []string // names looked up, with what they were: for the message of an assertion that does not hold
}

// expr is a parsed expression.
type expr func(*scope) (operand, error)

// parseCode reads %{ statements }%.
func (s *scanner) parseCode() *codeEvent {
	begin := s.at
	s.at += 2
	c := &codeEvent{}
	for {
		s.space()
		for s.accept(";") {
			s.space()
		}
		if s.eof() {
			s.fail(begin, "these assertions have no end: expected }%%")
		}
		if s.accept("}%") {
			return c
		}
		c.stmts = append(c.stmts, s.parseStatement())
	}
}

func (s *scanner) parseStatement() statement {
	st := statement{at: s.at}
	switch w := s.word(); w {
	case "assert":
		s.at += len(w)
		e := s.parseExpr()
		message := ""
		if s.blanks(); s.peek() == ',' {
			s.at++
			s.blanks()
			if s.peek() != '"' {
				s.expected("a message in double quotes")
			}
			message = s.quoted()
		}
		st.source = strings.TrimSpace(s.src[st.at:s.at])
		st.run = func(sc *scope) error { return sc.assert(e, st.source, message) }
	case "print":
		s.at += len(w)
		list := s.parseArguments()
		st.run = func(sc *scope) error { return sc.print(list) }
	case "":
		s.expected("assert, print, or a name")
	default:
		s.at += len(w)
		if s.blanks(); s.peek() != '=' || s.starts("==") {
			s.expected("\"=\" (a statement is assert, print, or name = value)")
		}
		s.at++
		e := s.parseExpr()
		st.run = func(sc *scope) error {
			v, err := e(sc)
			sc.vars[w] = v
			return err
		}
	}
	s.blanks()
	if c := s.peek(); c != ';' && c != '\n' && !s.starts("}%") && !s.eof() {
		s.expected("\";\", a new line or }%")
	}
	return st
}

// parseArguments reads (a, b).
func (s *scanner) parseArguments() (list []expr) {
	s.blanks()
	s.expect("(")
	for !s.accept(")") {
		list = append(list, s.parseExpr())
		if !s.accept(",") && !s.starts(")") {
			s.expected("\",\" or \")\"")
		}
	}
	return list
}

// parseExpr reads an expression: or, and, not, comparisons (chained, as in 1 < x < 3), + -, * / %, and brackets.
func (s *scanner) parseExpr() expr {
	s.depth++
	defer func() { s.depth-- }()
	if s.depth > 50 {
		s.fail(s.at, "nested too deeply")
	}
	left := s.parseAnd()
	for s.acceptOp("or", "||") {
		a, b := left, s.parseAnd()
		left = func(sc *scope) (operand, error) {
			if v, err := a(sc); err != nil || v.truth() {
				return v, err
			}
			return b(sc)
		}
	}
	return left
}

func (s *scanner) parseAnd() expr {
	left := s.parseNot()
	for s.acceptOp("and", "&&") {
		a, b := left, s.parseNot()
		left = func(sc *scope) (operand, error) {
			if v, err := a(sc); err != nil || !v.truth() {
				return v, err
			}
			return b(sc)
		}
	}
	return left
}

// acceptOp takes an operator that is a word or a sign, on the same line.
func (s *scanner) acceptOp(word, sign string) bool {
	s.blanks()
	if s.word() == word {
		s.at += len(word)
		return true
	}
	if s.starts(sign) {
		s.at += len(sign)
		return true
	}
	return false
}

func (s *scanner) parseNot() expr {
	s.blanks()
	if s.word() == "not" || s.peek() == '!' && !s.starts("!=") {
		s.at += max(len(s.word()), 1)
		s.depth++
		if s.depth > 50 {
			s.fail(s.at, "nested too deeply")
		}
		e := s.parseNot()
		s.depth--
		return func(sc *scope) (operand, error) {
			v, err := e(sc)
			return number(boolNumber(!v.truth())), err
		}
	}
	return s.parseComparison()
}

// comparisons are the signs, the longer of two that begin alike first.
var comparisons = []string{"==", "!=", "<=", ">=", "<", ">"}

func (s *scanner) parseComparison() expr {
	terms := []expr{s.parseSum()}
	var ops []string
	for {
		s.blanks()
		op := ""
		for _, c := range comparisons {
			if s.starts(c) {
				op = c
				break
			}
		}
		if op == "" {
			break
		}
		s.at += len(op)
		ops = append(ops, op)
		terms = append(terms, s.parseSum())
	}
	if len(ops) == 0 {
		return terms[0]
	}
	return func(sc *scope) (operand, error) {
		left, err := terms[0](sc)
		for i, op := range ops {
			if err != nil {
				return left, err
			}
			right, err2 := terms[i+1](sc)
			if err2 != nil {
				return left, err2
			}
			ok, err3 := compareOperands(left, op, right)
			if err3 != nil || !ok {
				return number(0), err3
			}
			left = right
		}
		return number(1), err
	}
}

func compareOperands(a operand, op string, b operand) (bool, error) {
	if a.isText != b.isText {
		return false, fmt.Errorf("%q %s %q compares a text with a number", a, op, b)
	}
	order := strings.Compare(a.text, b.text)
	if !a.isText {
		switch {
		case a.n < b.n:
			order = -1
		case a.n > b.n:
			order = 1
		}
	}
	switch op {
	case "==":
		return order == 0, nil
	case "!=":
		return order != 0, nil
	case "<=":
		return order <= 0, nil
	case ">=":
		return order >= 0, nil
	case "<":
		return order < 0, nil
	}
	return order > 0, nil
}

func (s *scanner) parseSum() expr {
	left := s.parseProduct()
	for {
		s.blanks()
		op := s.peek()
		if op != '+' && op != '-' && op != '|' && op != '&' || s.starts("||") || s.starts("&&") {
			return left
		}
		s.at++
		left = arithmetic(left, op, s.parseProduct())
	}
}

func (s *scanner) parseProduct() expr {
	left := s.parseOperand()
	for {
		s.blanks()
		op := s.peek()
		if op != '*' && op != '/' && op != '%' {
			return left
		}
		s.at++
		if op == '/' && s.peek() == '/' {
			s.at++
		}
		left = arithmetic(left, op, s.parseOperand())
	}
}

func arithmetic(a expr, op byte, b expr) expr {
	return func(sc *scope) (operand, error) {
		x, err := a(sc)
		if err != nil {
			return x, err
		}
		y, err := b(sc)
		if err != nil {
			return y, err
		}
		if x.isText || y.isText {
			return x, fmt.Errorf("%q %c %q: expected numbers", x, op, y)
		}
		switch op {
		case '+':
			return number(x.n + y.n), nil
		case '-':
			return number(x.n - y.n), nil
		case '*':
			return number(x.n * y.n), nil
		case '|':
			return number(x.n | y.n), nil
		case '&':
			return number(x.n & y.n), nil
		}
		if y.n == 0 {
			return x, fmt.Errorf("division by 0")
		}
		if op == '/' {
			return number(x.n / y.n), nil
		}
		return number(x.n % y.n), nil
	}
}

// parseOperand reads a number, a text, a name, min(…), fd(4).name, or an expression in brackets.
func (s *scanner) parseOperand() expr {
	s.blanks()
	at := s.at
	switch c := s.peek(); {
	case c == '(':
		s.at++
		e := s.parseExpr()
		s.expect(")")
		return e
	case c == '"':
		text := s.quoted()
		return func(*scope) (operand, error) { return operand{text: text, isText: true}, nil }
	case c == '-':
		s.at++
		e := s.parseOperand()
		return arithmetic(func(*scope) (operand, error) { return number(0), nil }, '-', e)
	case isDigit(c):
		n := s.integer("a number")
		return func(*scope) (operand, error) { return number(n), nil }
	}
	w := s.word()
	if w == "" {
		s.expected("a number, a name or a text")
	}
	s.at += len(w)
	if s.peek() == '(' {
		return s.parseFunction(at, w)
	}
	if w == "True" || w == "False" {
		return func(*scope) (operand, error) { return number(boolNumber(w == "True")), nil }
	}
	return func(sc *scope) (operand, error) { return sc.lookup(nil, w) }
}

// parseFunction reads min(a, b), max(a, b), abs(a), or fd(4).name.
func (s *scanner) parseFunction(at int, w string) expr {
	args := s.parseArguments()
	switch {
	case w == "fd" && len(args) == 1:
		if s.peek() != '.' {
			s.expected("\".\" and a name, as in fd(4).tcpi_state")
		}
		s.at++
		name := s.takeWord("a name")
		return func(sc *scope) (operand, error) {
			fd, err := args[0](sc)
			if err != nil {
				return fd, err
			}
			f := sc.r.files[int(fd.n)]
			if f == nil {
				return fd, fmt.Errorf("%d is not a descriptor", fd.n)
			}
			return sc.lookup(f, name)
		}
	case (w == "min" || w == "max") && len(args) > 0, w == "abs" && len(args) == 1:
		return func(sc *scope) (operand, error) { return aggregate(sc, w, args) }
	}
	s.fail(at, "unknown function %s with %d arguments: expected min, max, abs or fd", w, len(args))
	return nil
}

func aggregate(sc *scope, w string, args []expr) (operand, error) {
	var best int64
	for i, a := range args {
		v, err := a(sc)
		switch {
		case err != nil:
			return v, err
		case w == "abs":
			return number(max(v.n, -v.n)), nil
		case i == 0 || w == "min" && v.n < best || w == "max" && v.n > best:
			best = v.n
		}
	}
	return number(best), nil
}

// lookup gives what a name stands for: a variable, a constant, or a number of a socket, f or that of the last call.
func (sc *scope) lookup(f *file, name string) (operand, error) {
	if f == nil {
		if v, ok := sc.vars[name]; ok {
			return v, nil
		}
		if n, ok := symbols[name]; ok {
			return number(n), nil
		}
		f = sc.r.lastFile
	}
	get, ok := infoFields[name]
	if !ok {
		return operand{}, fmt.Errorf("unknown name %s", name)
	}
	if f == nil || f.tcp == nil {
		if f != nil && f.listener != nil && name == "tcpi_state" {
			return number(symbols["TCP_LISTEN"]), nil
		}
		return operand{}, fmt.Errorf("%s: the last call was on no connection: name one, as in fd(4).%s", name, name)
	}
	i := f.tcp.Info()
	v := get(&i)
	sc.seen = append(sc.seen, fmt.Sprintf("%s = %v", name, v))
	return v, nil
}

func (sc *scope) assert(e expr, source, message string) error {
	sc.seen = nil
	v, err := e(sc)
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if v.truth() {
		return nil
	}
	text := source + " does not hold"
	if len(sc.seen) > 0 {
		text += ": " + strings.Join(sc.seen, ", ")
	}
	if message != "" {
		text += " (" + message + ")"
	}
	return fmt.Errorf("%s", text)
}

func (sc *scope) print(list []expr) error {
	var parts []string
	for _, e := range list {
		v, err := e(sc)
		if err != nil {
			return err
		}
		parts = append(parts, v.String())
	}
	sc.r.note(sc.r.clock.Now(), "", "print: "+strings.Join(parts, " "))
	return nil
}

// runCode runs a block.
func (r *runner) runCode(c *codeEvent) error {
	if r.vars == nil {
		r.vars = map[string]operand{}
	}
	sc := &scope{r: r, vars: r.vars}
	for _, st := range c.stmts {
		if err := st.run(sc); err != nil {
			return r.mismatch("%v", err)
		}
	}
	return nil
}

// infoField reads one number of a connection.
type infoField func(*tcp.Info) operand
