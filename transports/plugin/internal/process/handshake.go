package process

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-plugin"
)

// handshake is what both sides have to agree on. The cookie is no secret: a program that does not find it in its
// environment was started by hand, and says so.
var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  protocolVersion,
	MagicCookieKey:   "BACKPLANE_PLUGIN",
	MagicCookieValue: "the backplane of a cluster starts me",
}

const (
	coreVersion     = 1 // of go-plugin's own protocol
	protocolVersion = 1 // of ours

	// lifelineVar tells the plugin that its standard input ends when it should: with the host, or when asked to stop.
	lifelineVar = "BACKPLANE_PLUGIN_LIFELINE"
	lifelineIn  = "stdin"
	// patienceVar tells it how long it may take then: "5s".
	patienceVar = "BACKPLANE_PLUGIN_STOP_TIMEOUT"
)

// maxHandshake bounds the first line of a plugin: a certificate in base64 takes about 900 bytes.
const maxHandshake = 16 << 10

// checkHandshake tells what is wrong with a plugin's first line on its standard output, in words for the plugin's
// author, or "". Go-plugin reads the line again afterwards: it is lenient about some of this, and curt about the rest.
func checkHandshake(line, dir string) string {
	parts := strings.Split(line, "|")
	if len(parts) < 4 || !isNumber(parts[0]) {
		return fmt.Sprintf("printed %.120q where its handshake should be: is it a Backplane plugin? A plugin prints nothing to its standard output before it serves; logs belong on its standard error", line)
	}
	if parts[0] != fmt.Sprint(coreVersion) {
		return fmt.Sprintf("speaks version %.20q of go-plugin's protocol, this host version %d: build it with a go-plugin of these years", parts[0], coreVersion)
	}
	if parts[1] != fmt.Sprint(protocolVersion) {
		return fmt.Sprintf("speaks version %.20q of Backplane's plugin protocol, this host version %d: use a plugin made for this version of Backplane", parts[1], protocolVersion)
	}
	if len(parts) < 5 || parts[4] != string(plugin.ProtocolGRPC) {
		return "does not speak gRPC (the fifth part of its handshake must be grpc): net/rpc plugins are not supported"
	}
	if problem := checkAddress(parts[2], parts[3], dir); problem != "" {
		return problem
	}
	if len(parts) < 6 || len(parts[5]) <= 50 { // go-plugin takes shorter ones for something else
		return "sends no certificate in its handshake (the sixth part): it must answer the one in PLUGIN_CLIENT_CERT, so that each side knows the other"
	}
	der, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return "sends a certificate that is not base64 without padding (the sixth part of its handshake)"
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return fmt.Sprintf("sends what is no X.509 certificate in DER (the sixth part of its handshake): %v", err)
	}
	return ""
}

// checkAddress keeps the connection on this machine, and its socket in the folder that is removed in the end.
func checkAddress(network, address, dir string) string {
	switch network {
	case "unix":
		if filepath.Dir(filepath.Clean(address)) != filepath.Clean(dir) {
			return fmt.Sprintf("listens at the socket %.200q: it must be in the folder that PLUGIN_UNIX_SOCKET_DIR names", address)
		}
	case "tcp":
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return fmt.Sprintf("listens at %.200q: only 127.0.0.1 and [::1] are allowed", address)
		}
	default:
		return fmt.Sprintf("listens on %.50q: only unix and tcp are known", network)
	}
	return ""
}

func isNumber(s string) bool {
	return s != "" && len(s) < 10 && strings.Trim(s, "0123456789") == ""
}
