function FindProxyForURL(url, host) {
	if (host == "{{host}}")
		return "PROXY {{proxy}}";
	if (isPlainHostName(host) || host == "127.0.0.1" || host == "::1" || host == "[::1]")
		return "DIRECT";
	return "PROXY {{proxy}}";
}
