package process_test

func beHost(string) {}
