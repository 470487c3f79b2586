package wire

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/weirnet/weir/checksum"
)

// What we write, somebody else's decoder reads as we meant it, and its encoder gives the same bytes with the same checksums.

// decode decodes a packet, and fails if there is anything that gopacket does not understand.
func decode(t *rapid.T, b []byte, first gopacket.LayerType) gopacket.Packet {
	p := gopacket.NewPacket(b, first, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v: % x", e.Error(), b)
	}
	return p
}

// encode encodes layers with gopacket's own lengths and checksums.
func encode(t *rapid.T, l ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestOracleTCP4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := genTCPOptions().Draw(t, "options")
		o.HasFastOpen, o.FastOpen = false, nil
		data := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "data")
		tf := TCPFields{rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport"), rapid.Uint32().Draw(t, "seq"),
			rapid.Uint32().Draw(t, "ack"), TCPFlags(rapid.Uint16Range(0, 0x1ff).Draw(t, "flags")), rapid.Uint16().Draw(t, "window"), 0,
			rapid.Uint16().Draw(t, "urgent"), &o}
		f := genIPv4Fields().Draw(t, "ip")
		f.Protocol, f.FragmentOffset, f.MoreFragments, f.Options = ProtoTCP, 0, false, nil
		f.TotalLen = IPv4MinLen + tf.HeaderLen() + len(data)

		b := make([]byte, f.TotalLen)
		PutIPv4(b, f)
		h := PutTCP(b[IPv4MinLen:], tf)
		copy(b[IPv4MinLen+len(h):], data)
		h.SetChecksum(h.ComputeChecksum(f.Src, f.Dst, len(data), checksum.Sum(data, 0)))

		p := decode(t, b, layers.LayerTypeIPv4)
		ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		flags := map[TCPFlags]bool{FIN: tcp.FIN, SYN: tcp.SYN, RST: tcp.RST, PSH: tcp.PSH, ACK: tcp.ACK, URG: tcp.URG, ECE: tcp.ECE,
			CWR: tcp.CWR, AE: tcp.NS}
		for bit, set := range flags {
			if tf.Flags.Has(bit) != set {
				t.Fatalf("%v is %v", bit, set)
			}
		}
		if uint16(tcp.SrcPort) != tf.SrcPort || uint16(tcp.DstPort) != tf.DstPort || tcp.Seq != tf.Seq || tcp.Ack != tf.Ack ||
			tcp.Window != tf.Window || tcp.Urgent != tf.Urgent || !bytes.Equal(tcp.Payload, data) {
			t.Fatalf("gopacket reads %+v", tcp)
		}
		if ip.TTL != f.TTL || ip.Id != f.ID || ip.TOS != f.TOS || int(ip.Length) != f.TotalLen ||
			ip.Flags&layers.IPv4DontFragment != 0 != f.DontFragment || !ip.SrcIP.Equal(f.Src.AsSlice()) || !ip.DstIP.Equal(f.Dst.AsSlice()) {
			t.Fatalf("gopacket reads %+v", ip)
		}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		if again := encode(t, ip, tcp, gopacket.Payload(data)); !bytes.Equal(again, b) {
			t.Fatalf("gopacket writes % x\nwe write        % x", again, b)
		}
	})
}

func TestOracleUDP6(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "data")
		f := IPv6Fields{rapid.Byte().Draw(t, "class"), rapid.Uint32Range(0, 0xfffff).Draw(t, "label"), UDPLen + len(data), ProtoUDP,
			rapid.Byte().Draw(t, "hops"), genAddr6().Draw(t, "src"), genAddr6().Draw(t, "dst")}
		b := make([]byte, IPv6Len+f.PayloadLen)
		PutIPv6(b, f)
		h := PutUDP(b[IPv6Len:], UDPFields{rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport"), f.PayloadLen, 0})
		copy(b[IPv6Len+UDPLen:], data)
		h.SetChecksum(h.ComputeChecksum(f.Src, f.Dst, checksum.Sum(data, 0)))

		ip := &layers.IPv6{Version: 6, TrafficClass: f.TrafficClass, FlowLabel: f.FlowLabel, NextHeader: layers.IPProtocolUDP, HopLimit: f.HopLimit,
			SrcIP: f.Src.AsSlice(), DstIP: f.Dst.AsSlice()}
		udp := &layers.UDP{SrcPort: layers.UDPPort(h.SrcPort()), DstPort: layers.UDPPort(h.DstPort())}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		if h.Checksum() == 0xffff {
			return // which gopacket may write as 0
		}
		if again := encode(t, ip, udp, gopacket.Payload(data)); !bytes.Equal(again, b) {
			t.Fatalf("gopacket writes % x\nwe write        % x", again, b)
		}
	})
}

func TestOracleICMP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, seq := rapid.Uint16().Draw(t, "id"), rapid.Uint16().Draw(t, "seq")
		data := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "data")
		m := PutICMPv4(append(make([]byte, 8), data...), ICMPv4Fields{Type: ICMPv4Echo, Rest: ICMPEcho(id, seq)})
		m.SetChecksum(m.ComputeChecksum(0))
		echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: id, Seq: seq}
		if again := encode(t, echo, gopacket.Payload(data)); !bytes.Equal(again, m) {
			t.Fatalf("gopacket writes % x\nwe write        % x", again, m)
		}

		src, dst := genAddr6().Draw(t, "src"), genAddr6().Draw(t, "dst")
		f := NeighborFields{Router: rapid.Bool().Draw(t, "r"), Solicited: true, Target: src, HasHardware: true, Hardware: genMAC().Draw(t, "hw")}
		na := PutNeighborAdvert(make([]byte, f.Len()), f)
		na.SetChecksum(na.ComputeChecksum(src, dst, 0, 0))
		ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}
		advert := &layers.ICMPv6NeighborAdvertisement{Flags: na[4], TargetAddress: src.AsSlice(),
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: f.Hardware[:]}}}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		if again := encode(t, ip, icmp, advert)[IPv6Len:]; !bytes.Equal(again, na) {
			t.Fatalf("gopacket writes % x\nwe write        % x", again, na)
		}
	})
}

func TestOracleEthernetARP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := ARPFields{ARPOp(rapid.IntRange(1, 2).Draw(t, "op")), genMAC().Draw(t, "sha"), genMAC().Draw(t, "tha"),
			genAddr4().Draw(t, "spa"), genAddr4().Draw(t, "tpa")}
		b := make([]byte, EthernetMinLen+ARPLen)
		PutEthernet(b, EthernetFields{f.TargetHardware, f.SenderHardware, EtherTypeARP})
		PutARP(b[EthernetMinLen:], f)
		p := decode(t, b, layers.LayerTypeEthernet)
		eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		arp := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if !bytes.Equal(eth.SrcMAC, f.SenderHardware[:]) || !bytes.Equal(eth.DstMAC, f.TargetHardware[:]) || arp.Operation != uint16(f.Op) ||
			!bytes.Equal(arp.SourceHwAddress, f.SenderHardware[:]) || !bytes.Equal(arp.DstHwAddress, f.TargetHardware[:]) ||
			!bytes.Equal(arp.SourceProtAddress, f.SenderAddr.AsSlice()) || !bytes.Equal(arp.DstProtAddress, f.TargetAddr.AsSlice()) {
			t.Fatalf("gopacket reads %+v %+v", eth, arp)
		}
	})
}
