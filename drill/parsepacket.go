package drill

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirnet/weir/wire"
)

// parsePacket reads what follows < or >: addresses, IP header, and one of segment, datagram or ICMP message.
func (s *scanner) parsePacket(in bool) *packetEvent {
	p := &packetEvent{in: in, ip: ipSpec{ecn: -1, tos: -1, ttl: -1, flowLabel: -1}}
	s.blanks()
	if s.endpointHere() {
		p.src = s.parseEndpoint()
		s.blanks()
		if s.peek() != '>' {
			s.expected("\">\" and the destination")
		}
		s.at++
		s.blanks()
		if !s.endpointHere() {
			s.expected("a destination (192.0.2.1:8080, [2001:db8::1]:8080 or :8080)")
		}
		p.dst = s.parseEndpoint()
	}
	s.parseIP(&p.ip)
	s.blanks()
	switch s.word() {
	case "udp":
		s.at += 3
		p.udp = &udpSpec{s.parenthesised("the number of bytes", 0, 65507)}
	case "icmp", "icmpv4", "icmpv6":
		s.at += len(s.word())
		p.icmp = s.parseICMP()
	default:
		p.tcp = s.parseSegment(in)
	}
	s.endOfLine()
	return p
}

// endpointHere reports whether an address and port follow, and not the IP header's brackets.
func (s *scanner) endpointHere() bool {
	_, _, ok := s.endpointText()
	return ok
}

// endpointText is the address and the port that begin here, as text.
func (s *scanner) endpointText() (addr, port string, ok bool) {
	rest := s.src[s.at:]
	if strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 || !strings.HasPrefix(rest[end:], "]:") {
			return "", "", false
		}
		addr, rest = rest[1:end], rest[end+1:]
	} else {
		n := 0
		for n < len(rest) && (isDigit(rest[n]) || rest[n] == '.') {
			n++
		}
		addr, rest = rest[:n], rest[n:]
		if n > 0 && strings.Count(addr, ".") != 3 {
			return "", "", false
		}
	}
	if !strings.HasPrefix(rest, ":") {
		return "", "", false
	}
	n := 1
	for n < len(rest) && isDigit(rest[n]) {
		n++
	}
	return addr, rest[1:n], n > 1
}

// parseEndpoint reads 192.0.2.1:8080, [2001:db8::1]:8080, or :8080.
func (s *scanner) parseEndpoint() netip.AddrPort {
	begin := s.at
	text, portText, _ := s.endpointText()
	if s.peek() == '[' {
		s.at += 2
	}
	s.at += len(text) + 1 + len(portText)
	var addr netip.Addr
	if text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			s.fail(begin, "expected an IP address, found %q", text)
		}
		addr = a
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		s.fail(begin, "port %s is out of range", portText)
	}
	return netip.AddrPortFrom(addr, uint16(port))
}

// parenthesised reads (N).
func (s *scanner) parenthesised(what string, least, most int64) int {
	s.expect("(")
	n := s.within(what, least, most)
	s.expect(")")
	return int(n)
}

// parseIP reads [ect0], [tos 0x10, ttl 5], (ttl 64).
func (s *scanner) parseIP(ip *ipSpec) {
	for {
		s.blanks()
		end := "]"
		if s.peek() == '(' {
			end = ")"
		} else if s.peek() != '[' {
			return
		}
		s.at++
		for {
			s.parseIPField(ip)
			if s.accept(end) {
				break
			}
			s.expect(",")
		}
	}
}

func (s *scanner) parseIPField(ip *ipSpec) {
	s.space()
	at := s.at
	switch w := s.takeWord("a field of the IP header (noecn, ect0, ect1, ce, ect01, tos, ttl, flowlabel, options)"); w {
	case "noecn", "nonect", "notect":
		ip.ecn = int(wire.NotECT)
	case "ect0":
		ip.ecn = int(wire.ECT0)
	case "ect1":
		ip.ecn = int(wire.ECT1)
	case "ce":
		ip.ecn = int(wire.CE)
	case "ect01":
		ip.ect = true
	case "tos":
		ip.tos = int(s.within("a traffic class", 0, 255))
	case "ttl":
		ip.ttl = int(s.within("a TTL", 0, 255))
	case "ipopt", "options":
		ip.options = s.hexBytes()
		if len(ip.options) == 0 || len(ip.options) > 40 {
			s.fail(at, "expected 1 to 40 bytes of IPv4 options in hexadecimal digits")
		}
	case "flowlabel":
		ip.flowLabel = int(s.within("a flow label", 0, 0xfffff))
	default:
		s.fail(at, "unknown field %s: expected noecn, ect0, ect1, ce, ect01, tos, ttl, flowlabel or options", w)
	}
}

// flagLetters are those of FIN, SYN, RST, PSH, ACK, URG, ECE, CWR and AE, as their bits follow one upon another.
const flagLetters = "FSRP.UEWA"

// parseFlags reads S F R P U . E W (or C) A, and an ACE value 0 to 7; - means no flag.
func (s *scanner) parseFlags() (f wire.TCPFlags, anyECN bool) {
	s.blanks()
	begin := s.at
	for !s.eof() {
		c := s.peek()
		switch {
		case strings.IndexByte(flagLetters, c) >= 0:
			f |= wire.FIN << strings.IndexByte(flagLetters, c)
		case c == 'C':
			f |= wire.CWR
		case c == '*':
			anyECN = true
		case c == '-' && s.at == begin:
			s.at++
			return 0, false
		case c >= '0' && c <= '7' && s.at > begin:
			f = f&^(wire.ECE|wire.CWR|wire.AE) | wire.TCPFlags(c-'0')*wire.ECE
		default:
			if s.at == begin {
				s.expected("the flags of a segment (S F R P . U E W A), udp or icmp")
			}
			if c != ' ' && c != '\t' {
				s.expected("a flag (S F R P . U E W A) or a blank")
			}
			return f, anyECN
		}
		s.at++
	}
	return f, anyECN
}

// parseSegment reads FLAGS BEGIN:END(LENGTH) and what follows in any order.
func (s *scanner) parseSegment(in bool) *segmentSpec {
	g := &segmentSpec{headerLen: -1}
	g.flags, g.anyECN = s.parseFlags()
	if in && g.anyECN {
		s.fail(s.at, "* among the flags is for expected segments")
	}
	s.parseRange(g)
	for {
		s.blanks()
		at := s.at
		switch w := s.word(); w {
		case "ack":
			s.at += 3
			v := uint32(s.within("an acknowledgment number", -maxUint32, maxUint32))
			g.ack = &v
		case "win":
			s.at += 3
			v := uint16(s.within("a window", 0, 65535))
			g.win = &v
		case "urg":
			s.at += 3
			v := uint16(s.within("an urgent pointer", 0, 65535))
			g.urg = &v
		case "badsum", "doff":
			if !in {
				s.fail(at, "%s is for segments that arrive", w)
			}
			s.at += len(w)
			if g.badSum = g.badSum || w == "badsum"; w == "doff" {
				g.headerLen = int(s.within("a header length in bytes", 0, 60)) &^ 3
			}
		case "":
			if s.peek() == '<' {
				s.parseOptionList(g, in)
				continue
			}
			return g
		default:
			s.expected("ack, win, urg, TCP options in <…>, or the end of the line")
		}
	}
}

// parseRange reads 1:1001(1000).
func (s *scanner) parseRange(g *segmentSpec) {
	s.blanks()
	at := s.at
	g.seq = uint32(s.within("a sequence number", -maxUint32, maxUint32))
	if !s.starts(":") {
		s.expected("\":\" and the sequence number behind the data")
	}
	s.at++
	end := uint32(s.within("a sequence number", -maxUint32, maxUint32))
	if !s.starts("(") {
		s.expected("\"(\" and the number of bytes")
	}
	g.length = s.parenthesised("the number of bytes", 0, 65495)
	if g.end() != end {
		s.fail(at, "%d:%d(%d) does not add up: expected %d:%d(%d)", g.seq, end, g.length, g.seq, g.end(), g.length)
	}
}

// maxOptionBytes is what a TCP header has room for.
const maxOptionBytes = wire.TCPMaxOptionsLen

// parseOptionList reads <mss 1460,nop,…>, <> or <...>.
func (s *scanner) parseOptionList(g *segmentSpec, in bool) {
	at := s.at
	s.at++
	if s.accept("...") {
		s.expect(">")
		if in {
			s.fail(at, "<...> is for expected segments: name the options")
		}
		g.anyOptions = true
		return
	}
	size := 0
	for !s.accept(">") {
		o := s.parseOption(in)
		g.options = append(g.options, o)
		size += len(o.appendTo(nil, nil))
		if !s.accept(",") && !s.starts(">") {
			s.expected("\",\" or \">\"")
		}
	}
	if size > maxOptionBytes {
		s.fail(at, "these options are %d bytes: a header has room for %d", size, maxOptionBytes)
	}
	if size%4 != 0 && !slicesAny(g.options) {
		s.fail(at, "these options are %d bytes: fill them up with nop or eol to a multiple of 4", size)
	}
}

func slicesAny(all []optionSpec) bool {
	for _, o := range all {
		if o.any {
			return true
		}
	}
	return false
}

// parseOption reads one option.
func (s *scanner) parseOption(in bool) optionSpec {
	s.space()
	at := s.at
	o := optionSpec{length: -1}
	switch w := s.takeWord("a TCP option"); w {
	case "nop", "NOP":
		o.kind, o.bare = uint8(wire.TCPOptionNOP), true
	case "eol", "EOL":
		o.kind, o.bare = uint8(wire.TCPOptionEnd), true
	case "mss", "MSS":
		o.kind = uint8(wire.TCPOptionMSS)
		n := s.within("an MSS", 0, 65535)
		o.data = []byte{byte(n >> 8), byte(n)}
	case "wscale":
		o.kind = uint8(wire.TCPOptionWScale)
		o.data = []byte{byte(s.within("a shift", 0, 255))}
	case "sackOK", "sackok":
		o.kind = uint8(wire.TCPOptionSACKPermitted)
	case "sack":
		o.kind = uint8(wire.TCPOptionSACK)
		s.parseBlocks(&o)
	case "TS", "ts":
		o.kind = uint8(wire.TCPOptionTimestamps)
		s.parseTimestamps(&o, in)
	case "FO", "FOEXP":
		s.parseCookie(&o, w == "FOEXP")
	case "md5", "ao":
		s.parseDigest(&o, w, in)
	case "ECN", "acc_ecn":
		s.parseAccECN(&o)
	case "opt":
		s.parseRaw(&o)
	case "uto":
		o.kind = uint8(wire.TCPOptionUserTimeout)
		n := s.within("a user timeout field", 0, 65535)
		o.data = []byte{byte(n >> 8), byte(n)}
	default:
		s.fail(at, "unknown TCP option %s: expected mss, nop, eol, wscale, sackOK, sack, TS, FO, FOEXP, md5, ao, ECN, uto or opt", w)
	}
	return o
}

// parseBlocks reads 1001:2001 3001:4001.
func (s *scanner) parseBlocks(o *optionSpec) {
	for {
		s.space()
		if c := s.peek(); !isDigit(c) && c != '-' {
			return
		}
		left := s.within("the left edge of a SACK block", -maxUint32, maxUint32)
		if !s.starts(":") {
			s.expected("\":\" and the right edge of the SACK block")
		}
		s.at++
		right := s.within("the right edge of a SACK block", -maxUint32, maxUint32)
		o.blocks = append(o.blocks, wire.SACKBlock{Left: uint32(left), Right: uint32(right)})
	}
}

// parseTimestamps reads val N ecr N; ... is anything.
func (s *scanner) parseTimestamps(o *optionSpec, in bool) {
	for i, name := range []string{"val", "ecr"} {
		if !s.acceptWord(name) {
			s.expected(strconv.Quote(name))
		}
		any, n := false, int64(0)
		if any = s.accept("..."); any && in {
			s.expected("a number: ... is for expected segments")
		}
		if !any {
			n = s.within("a timestamp", 0, maxUint32)
		}
		if i == 0 {
			o.anyVal, o.val = any, uint32(n)
		} else {
			o.anyEcr, o.ecr = any, uint32(n)
		}
	}
}

// The experimental option kind in which Fast Open was tried, and its magic number (RFC 7413 §4.1.1).
const (
	experimentalKind = 254
	fastOpenMagic    = 0xf989
)

// parseCookie reads FO, FO a1b2c3d4, FO ...
func (s *scanner) parseCookie(o *optionSpec, experiment bool) {
	o.kind = uint8(wire.TCPOptionFastOpen)
	if s.accept("...") {
		o.any = true
	} else {
		o.data = s.hexBytes()
	}
	if experiment {
		o.kind = experimentalKind
		o.data = append([]byte{fastOpenMagic >> 8, fastOpenMagic & 0xff}, o.data...)
	}
}

// hexBytes reads pairs of hexadecimal digits, perhaps none.
func (s *scanner) hexBytes() []byte {
	s.space()
	if s.starts("0x") {
		s.at += 2
	}
	begin := s.at
	b, err := hex.DecodeString(s.until(isHex))
	if err != nil {
		s.fail(begin, "expected an even number of hexadecimal digits")
	}
	return b
}

// parseDigest reads md5 HEX, md5 ..., ao KEYID RNEXT HEX, ao ...
func (s *scanner) parseDigest(o *optionSpec, w string, in bool) {
	o.kind = uint8(wire.TCPOptionMD5)
	if w == "ao" {
		o.kind = uint8(wire.TCPOptionAO)
	}
	if s.accept("...") {
		if in {
			s.fail(s.at, "%s ... is for expected segments", w)
		}
		o.any = true
		return
	}
	if w == "ao" {
		o.data = []byte{byte(s.within("a KeyID", 0, 255)), byte(s.within("an RNextKeyID", 0, 255))}
	}
	if s.space(); s.peek() == '"' {
		s.parseSecret(o)
		return
	}
	o.data = append(o.data, s.hexBytes()...)
}

// parseSecret reads "KEY" [ALGORITHM].
func (s *scanner) parseSecret(o *optionSpec) {
	at := s.at
	o.secret = &secret{key: s.quoted()}
	size := 16
	if o.kind == uint8(wire.TCPOptionAO) {
		s.blanks()
		name := s.until(func(c byte) bool { return isWordByte(c, true) || c == '-' })
		alg, n, ok := algorithm(name)
		if !ok {
			s.fail(at, "unknown algorithm %s: expected hmac-sha1, aes-cmac or hmac-sha256", name)
		}
		o.secret.algorithm, size = alg, n
	}
	o.data = append(o.data, make([]byte, size)...)
}

// parseAccECN reads the counters of RFC 9768 §3.2.3 in the order of the wire, which gives the kind: e0b first is 172, e1b first 174.
func (s *scanner) parseAccECN(o *optionSpec) {
	o.kind = uint8(wire.TCPOptionAccECN0)
	for i, w := range []string{"", "", ""} {
		s.space()
		if w = s.word(); w != "e0b" && w != "ceb" && w != "e1b" {
			return
		}
		if i == 0 && w == "e1b" {
			o.kind = uint8(wire.TCPOptionAccECN1)
		}
		order := []string{"e0b", "ceb", "e1b"}
		if o.kind == uint8(wire.TCPOptionAccECN1) {
			order = []string{"e1b", "ceb", "e0b"}
		}
		if w != order[i] {
			s.expected(strconv.Quote(order[i]))
		}
		s.at += len(w)
		n := s.within("a counter", 0, 1<<24-1)
		o.data = append(o.data, byte(n>>16), byte(n>>8), byte(n))
	}
}

// parseRaw reads opt KIND [len N] [HEX]: any option, with any length byte.
func (s *scanner) parseRaw(o *optionSpec) {
	o.kind = uint8(s.within("the kind of a TCP option", 0, 255))
	if s.acceptWord("bare") {
		o.bare = true
		return
	}
	if s.acceptWord("len") {
		o.length = int(s.within("a length byte", 0, 255))
	}
	o.data = s.hexBytes()
}
