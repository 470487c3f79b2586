package weir

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirnet/weir/internal/stack"
)

// How the resolver asks: as libc's does without options in resolv.conf.
const (
	lookupTries   = 2               // of all servers
	lookupTimeout = 5 * time.Second // for one answer
	lookupPayload = 1232            // bytes of UDP that we take (EDNS, RFC 6891): what fits every path of IPv6
	lookupChain   = 16              // aliases in a row
)

// errServer is an answer that is no answer: another server may know.
var errServer = errors.New("server misbehaving")

// LookupNetIP returns the addresses of a host, IPv6 first; network is "ip", "ip4" or "ip6". An address stands for itself, localhost and
// names below it for 127.0.0.1 and ::1 (RFC 6761 §6.3). All else is asked of the servers in Config.DNS, over this stack; host files and
// search lists are never used. Errors are *net.DNSError: no such host, no server configured, timeout, …
func (s *Stack) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n, err := parseNetwork(network + ":icmp")
	if err != nil || n.proto != "ip" {
		return nil, &net.DNSError{Err: net.UnknownNetworkError(network).Error(), Name: host}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !n.suits(a) {
			return nil, notFound(errNoSuitableAddress.Error(), host)
		}
		return []netip.Addr{a}, nil
	}
	name := lowerASCII(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return localhost(n), nil
	}
	if len(s.dns) == 0 {
		return nil, notFound("no DNS server: set weir.Config.DNS", host)
	}
	full, err := dnsmessage.NewName(name + ".")
	if err != nil || !validName(name) {
		return nil, notFound("no such host", host)
	}
	return s.lookup(ctx, n.family, host, full)
}

func notFound(why, host string) error {
	return &net.DNSError{Err: why, Name: host, IsNotFound: true}
}

func localhost(n network) (addrs []netip.Addr) {
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if n.suits(a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// validName reports whether labels are of a length that can be asked for (RFC 1035 §2.3.4), and of printable characters.
func validName(name string) bool {
	label := 0 // its length so far
	for _, c := range []byte(name) {
		switch {
		case c == '.' && label > 0:
			label = 0
		case c == '.' || c <= ' ' || c > '~' || label == 63:
			return false
		default:
			label++
		}
	}
	return label > 0 && len(name) <= 253
}

// answer is what was learned about one record type of a name.
type answer struct {
	addrs []netip.Addr
	err   error
}

// lookup asks for both families at once.
func (s *Stack) lookup(ctx context.Context, family stack.Family, host string, name dnsmessage.Name) ([]netip.Addr, error) {
	var types []dnsmessage.Type
	if family != stack.IPv4 {
		types = append(types, dnsmessage.TypeAAAA)
	}
	if family != stack.IPv6 {
		types = append(types, dnsmessage.TypeA)
	}
	answers := make([]answer, len(types))
	if len(types) == 2 {
		done := make(chan struct{})
		if s.own.start(s.run, func() {
			defer close(done)
			answers[1] = s.ask(ctx, name, types[1])
		}) {
			defer func() { <-done }()
			answers[0] = s.ask(ctx, name, types[0])
			<-done
		} else {
			answers[0].err = net.ErrClosed
		}
	} else {
		answers[0] = s.ask(ctx, name, types[0])
	}
	return merge(host, answers)
}

// merge puts the families' answers together: an error counts only if there is no address.
func merge(host string, answers []answer) (addrs []netip.Addr, err error) {
	for _, a := range answers {
		addrs = append(addrs, a.addrs...)
		if a.err != nil && err == nil {
			err = a.err
		}
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case err == nil:
		return nil, notFound("no such host", host)
	}
	e := &net.DNSError{Err: err.Error(), UnwrapErr: err, Name: host, IsTemporary: errors.Is(err, errServer)}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		e.Err, e.IsTimeout, e.IsTemporary = timeoutError{}.Error(), true, true
	}
	return nil, e
}

// ask asks the servers in turn until one knows.
func (s *Stack) ask(ctx context.Context, name dnsmessage.Name, t dnsmessage.Type) answer {
	q := &dnsmessage.Question{Name: name, Type: t, Class: dnsmessage.ClassINET}
	var err error
	for range lookupTries {
		for _, server := range s.dns {
			var addrs []netip.Addr
			if addrs, err = s.exchange(ctx, server, q); err == nil {
				return answer{addrs: addrs}
			}
			if ctx.Err() != nil {
				return answer{err: mapContext(ctx.Err())}
			}
			if s.inner.Closed() {
				return answer{err: net.ErrClosed}
			}
		}
	}
	return answer{err: err}
}

// exchange asks one server once: by UDP, and again by TCP if the answer was truncated.
func (s *Stack) exchange(ctx context.Context, server netip.AddrPort, q *dnsmessage.Question) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	id := uint16(s.rand())
	query, err := buildQuery(id, q)
	if err != nil {
		return nil, err
	}
	addrs, truncated, err := s.exchangeUDP(ctx, server, query[2:], id, q)
	if !truncated {
		return addrs, err
	}
	return s.exchangeTCP(ctx, server, query, id, q)
}

// buildQuery returns a query with its length in front, as TCP wants it (RFC 1035 §4.2.2).
func buildQuery(id uint16, q *dnsmessage.Question) ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 2, 512), dnsmessage.Header{ID: id, RecursionDesired: true})
	var edns dnsmessage.ResourceHeader
	err := cmp.Or(
		b.StartQuestions(), b.Question(*q), b.StartAdditionals(),
		edns.SetEDNS0(lookupPayload, dnsmessage.RCodeSuccess, false), b.OPTResource(edns, dnsmessage.OPTResource{}),
	)
	if err != nil {
		return nil, err
	}
	query, err := b.Finish()
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	return query, nil
}

// until makes a connection's calls fail when ctx ends.
func until(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}

// exchangeUDP takes the first answer to the query; whatever else comes is somebody's attempt to forge one, or late.
func (s *Stack) exchangeUDP(ctx context.Context, server netip.AddrPort, query []byte, id uint16, q *dnsmessage.Question) ([]netip.Addr, bool, error) {
	c, err := s.dialRandom(ctx, server)
	if err != nil {
		return nil, false, err
	}
	defer c.Close()
	defer until(ctx, c)()
	if _, err := c.Write(query); err != nil {
		return nil, false, err
	}
	b := make([]byte, lookupPayload)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, false, err
		}
		if addrs, truncated, err := parseAnswer(b[:n], id, q); err != errForeign {
			return addrs, truncated, err
		}
	}
}

// dialRandom returns a socket with a port that cannot be guessed from another (RFC 5452 §9.2).
func (s *Stack) dialRandom(ctx context.Context, server netip.AddrPort) (*UDPConn, error) {
	for {
		port := 49152 + uint16(s.rand()%16384)
		c, err := s.DialUDP(ctx, netip.AddrPortFrom(netip.Addr{}, port), server)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return c, err
		}
	}
}

func (s *Stack) exchangeTCP(ctx context.Context, server netip.AddrPort, query []byte, id uint16, q *dnsmessage.Question) ([]netip.Addr, error) {
	c, err := s.DialTCP(ctx, netip.AddrPort{}, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer until(ctx, c)()
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	addrs, _, err := parseAnswer(b, id, q)
	return addrs, err
}

// errForeign is a message that does not answer our question.
var errForeign = errors.New("not an answer to the question that was asked")

// parseAnswer checks a message against the question and takes the addresses out of it. No address and no error: there is none.
func parseAnswer(b []byte, id uint16, q *dnsmessage.Question) (addrs []netip.Addr, truncated bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.ID != id || !h.Response {
		return nil, false, errForeign
	}
	got, err := p.Question()
	if err != nil || got.Type != q.Type || got.Class != q.Class || !sameName(&got.Name, &q.Name) {
		return nil, false, errForeign
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, false, errServer
	}
	switch {
	case h.Truncated:
		return nil, true, nil
	case h.RCode == dnsmessage.RCodeNameError:
		return nil, false, nil
	case h.RCode != dnsmessage.RCodeSuccess:
		return nil, false, errServer
	}
	addrs, err = collect(&p, q)
	return addrs, false, err
}

// record is what a record of an answer says: an address, or an alias.
type record struct {
	name  dnsmessage.Name
	addr  netip.Addr
	alias dnsmessage.Name
}

// records are those of an answer that are of use. They are taken one by one, so that the program need not know all types that there are.
func records(p *dnsmessage.Parser, class dnsmessage.Class) (all []record, err error) {
	for {
		h, err := p.AnswerHeader()
		switch {
		case err == dnsmessage.ErrSectionDone:
			return all, nil
		case err != nil:
			return nil, errServer
		}
		r := record{name: h.Name}
		switch {
		case h.Class != class:
			err = p.SkipAnswer()
		case h.Type == dnsmessage.TypeA:
			var body dnsmessage.AResource
			body, err = p.AResource()
			r.addr = netip.AddrFrom4(body.A)
		case h.Type == dnsmessage.TypeAAAA:
			var body dnsmessage.AAAAResource
			body, err = p.AAAAResource()
			r.addr = netip.AddrFrom16(body.AAAA)
		case h.Type == dnsmessage.TypeCNAME:
			var body dnsmessage.CNAMEResource
			body, err = p.CNAMEResource()
			r.alias = body.CNAME
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return nil, errServer
		}
		if r.addr.IsValid() || r.alias.Length > 0 {
			all = append(all, r)
		}
	}
}

// collect follows the aliases of an answer (in whatever order they come) to the addresses at their end.
func collect(p *dnsmessage.Parser, q *dnsmessage.Question) ([]netip.Addr, error) {
	all, err := records(p, q.Class)
	if err != nil {
		return nil, err
	}
	name := &q.Name
	for range lookupChain {
		var addrs []netip.Addr
		var alias *dnsmessage.Name
		for i := range all {
			switch r := &all[i]; {
			case !sameName(&r.name, name):
			case r.addr.IsValid():
				addrs = append(addrs, r.addr)
			default:
				alias = &r.alias
			}
		}
		if len(addrs) > 0 || alias == nil {
			return addrs, nil
		}
		name = alias
	}
	return nil, errServer
}

// sameName compares as DNS does, without regard to the case of letters.
func sameName(a, b *dnsmessage.Name) bool { return lowerASCII(a.String()) == lowerASCII(b.String()) }
