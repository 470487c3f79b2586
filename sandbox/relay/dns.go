package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// resolverTimeout is how long one resolver is waited for before the next is asked.
const resolverTimeout = 3 * time.Second

// gatewayTTL is that of the gateway's own names, in seconds.
const gatewayTTL = 60

// hostResolvers reads the name servers of a resolv.conf file; none if it cannot be read.
func hostResolvers(file string) []netip.AddrPort {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil
	}
	var all []netip.AddrPort
	for _, s := range c.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			all = append(all, netip.AddrPortFrom(a, 53))
		}
	}
	return all
}

// serveDNS answers queries, over UDP and TCP, at a gateway address.
func (r *Relay) serveDNS(gw netip.Addr) error {
	at := netip.AddrPortFrom(gw, 53)
	pc, err := r.stack.ListenUDP(at)
	if err != nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	l, err := r.stack.ListenTCP(at)
	if err != nil {
		pc.Close()
		return fmt.Errorf("serve DNS: %w", err)
	}
	r.runDNS(&dns.Server{PacketConn: pc, Handler: r.resolver("udp")})
	r.runDNS(&dns.Server{Listener: l, Handler: r.resolver("tcp")})
	return nil
}

// runDNS runs a server until Close.
func (r *Relay) runDNS(s *dns.Server) {
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	ended := make(chan struct{})
	r.wg.Go(func() {
		defer close(ended)
		_ = s.ActivateAndServe() // ends by Shutdown, or with the stack
	})
	r.onClose(func() {
		select {
		case <-started:
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = s.ShutdownContext(ctx)
		case <-ended:
		}
	})
}

// resolver answers the gateway's own names, and forwards all others to the host's resolvers by the network that the query came over.
func (r *Relay) resolver(network string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, query *dns.Msg) {
		if len(query.Question) == 1 && isOwn(query.Question[0].Name) {
			_ = w.WriteMsg(r.ownAnswer(query))
			return
		}
		_ = w.WriteMsg(r.forward(network, query))
	}
}

// isOwn reports whether a name is the gateway's or below it: such names never leave.
func isOwn(name string) bool {
	name = strings.ToLower(name)
	return name == Name+"." || strings.HasSuffix(name, "."+Name+".")
}

// ownAnswer answers for Name; names below it do not exist.
func (r *Relay) ownAnswer(query *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(query)
	m.Authoritative = true
	m.RecursionAvailable = true
	q := query.Question[0]
	if !strings.EqualFold(q.Name, Name+".") {
		m.Rcode = dns.RcodeNameError
		return m
	}
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: gatewayTTL}
	switch {
	case q.Qtype == dns.TypeA && r.o.Gateway4.IsValid():
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IP(r.o.Gateway4.AsSlice())})
	case q.Qtype == dns.TypeAAAA && r.o.Gateway6.IsValid():
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: net.IP(r.o.Gateway6.AsSlice())})
	}
	return m
}

// forward asks the resolvers in turn; SERVFAIL if none answers.
func (r *Relay) forward(network string, query *dns.Msg) *dns.Msg {
	c := dns.Client{Net: network, Timeout: resolverTimeout, UDPSize: dns.MaxMsgSize}
	id := query.Id
	for _, at := range r.o.Resolvers {
		ask := query.Copy()
		ask.Id = dns.Id()
		answer, _, err := c.ExchangeContext(r.ctx, ask, at.String())
		if err == nil {
			answer.Id = id
			return answer
		}
	}
	return new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
}
