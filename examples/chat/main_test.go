package main

func Example() {
	main()
	// Output:
	// ada sees: ada: hello garden
	// grace sees: ada: hello garden
	// grace sees: ada: hello grace
	// on chat-1 is ada
	// ada is gone: true
}
