package main

func Example() {
	main()
	// Output:
	// one node reserved: true
	// a handler's error keeps its code: true and says that it is remote: true
	// work-1 has 10
	// work-2 has 20
	// work-3 has 30
	// together 60
}
